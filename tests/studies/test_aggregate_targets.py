"""Targets that are no classes, from a YAML of a few lines to a bundle on another cohort."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from made_up_people import people_store
from pydantic import ValidationError
from sklearn.metrics import mean_absolute_error, r2_score

import slicecache
from aggregate.cli import describe_training, train_and_report
from aggregate.config.section import parse_section, read_aggregate_section
from aggregate.predict.bundle import BundleCard, load_bundle
from aggregate.predict.predict import predict_store
from cache_schema.common.errors import ConfigError, SlicecacheError
from cache_schema.common.pipeline_file import load_pipeline
from cache_schema.store.reader import open_store

LOOKS_AT_FIGURES = True

AGE = """
run: {folder: run}
cache: {store: a.zarr}
aggregate:
  cohort: a.tsv
  target: {column: age, task: regression}
  sessions: all
  train: {epochs: 10}
  folds: {n: 3, repeats: 2}
  shuffle_labels: 4
  external: {store: b.zarr, cohort: b.tsv}
  ablate:
    configurations: {mean_pool: {head.kind: mean}, abmil: {head.kind: attention}, huber: {loss: {huber: 1}}}
    primary: [[abmil, constant], [mean_pool, mean_pool_ridge]]
    repeats: 2
    select: nested
"""
YEARS = {"column": "age", "task": "regression"}
GRADES = {"column": "g", "task": "ordinal"}
HERE, THERE, VISITS = 44, 20, 2


def make(folder: Path, name: str, n: int, seed: int, sessions: int = 1) -> np.ndarray[Any, Any]:
    """A store in which tokens grow with age, and its table."""
    ages = np.random.default_rng(seed).uniform(45, 85, n).round(1)
    people = [f"sub-{name}{i:02d}" for i in range(n)]
    people_store(folder / f"{name}.zarr", people, (ages - 65) / 12, seed, sessions=sessions, effect=3.0)
    grade = np.digitize(ages, [55, 68])
    rows = [f"{p}\t{a}\t{'MF'[i % 2]}\t{('young', 'middle', 'old')[g]}"
            for i, (p, a, g) in enumerate(zip(people, ages, grade, strict=True))]  # fmt: skip
    (folder / f"{name}.tsv").write_text("\n".join(["participant_id\tage\tsex\tgroup", *rows]) + "\n")
    return ages


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("targets")
    make(folder, "a", HERE, 1, VISITS)
    make(folder, "b", THERE, 2)
    (folder / "age.yaml").write_text(AGE)
    return folder


def train(file: Path, *overrides: str) -> Any:
    loaded = load_pipeline(file, overrides)
    return train_and_report(loaded, read_aggregate_section(loaded), 0)


@pytest.fixture(scope="module")
def age(project: Path) -> Any:
    return train(project / "age.yaml")


def page(folder: Path) -> str:
    return re.sub("</?abbr[^>]*>", "", (folder / "report.html").read_text())


def test_an_age_regression_is_25_lines_and_finds_what_was_planted(age: Any) -> None:
    assert len(AGE.strip().splitlines()) < 25
    metrics = json.loads((age.folder / "metrics.json").read_text())
    assert (metrics["task"], metrics["primary"]) == ("regression", "mae")
    assert "classes" not in metrics
    assert metrics["outcome"]["min"] < 50
    rows = {"attention": metrics["metrics"], **metrics["baselines"]}
    assert list(rows)[:3] == ["attention", "mean_pool_ridge", "confounds_only"]
    assert list(rows)[-1] == "constant"
    assert rows["attention"]["r2"]["value"] > 0.6
    assert rows["constant"]["r2"]["value"] == pytest.approx(0, abs=0.15)
    assert rows["constant"]["bias_slope"]["value"] == pytest.approx(-1)
    assert -1 < rows["attention"]["bias_slope"]["value"] < 0
    found = metrics["comparison"]["constant"]
    assert found["difference"] < 0
    assert found["p"] < 0.01
    assert metrics["null"]["mae"]["p"] == pytest.approx(1 / 5)
    assert metrics["null"]["mae"]["mean"] > 2 * rows["attention"]["mae"]["value"]


def test_predictions_are_in_years_and_metrics_over_participants(age: Any) -> None:
    table = pd.read_csv(age.folder / "predictions.csv")
    assert list(table.columns)[9:10] == ["prediction"]
    assert not [name for name in table if name.startswith(("logit", "p_", "threshold"))]
    own = table[(table["configuration"] == "attention") & (table["set"] == "out_of_fold")]
    assert len(own) == 2 * VISITS * HERE
    one = own[(own["repeat"] == 0) & (own["fold"] == 0)].groupby("participant_id")[["y", "prediction"]].mean()
    maes = [
        mean_absolute_error(each["y"], each["prediction"])
        for _, fold in own.groupby(["repeat", "fold"])
        for each in [fold.groupby("participant_id")[["y", "prediction"]].mean()]
    ]
    assert age.metrics["metrics"]["mae"]["value"] == pytest.approx(np.mean(maes))
    assert one["prediction"].between(35, 95).all()


def test_report_and_terminal_speak_of_no_classes(age: Any, project: Path) -> None:
    text = page(age.folder)
    plain = text[: text.index("<h3>Make it again")].replace("apart (AUROC", "")
    for word in ("AUROC", "ROC over", "threshold", "logistic", "classes"):
        assert word not in plain, word
    assert "Predicted over true age of 44 participants" in text
    assert "Error over true age: slope −0" in text
    told = describe_training(age, project / "run")
    assert "MAE -" in told
    assert "AUROC" not in told.replace("apart (AUROC", "")


def test_the_bundle_predicts_years_of_whom_it_did_not_see(age: Any, project: Path) -> None:
    bundle = load_bundle(age.folder / "bundle")
    assert (bundle.card.task, bundle.card.classes, bundle.card.n_outputs) == ("regression", (), 1)
    own = age.predictions[
        (age.predictions["configuration"] == "attention") & age.predictions["repeat"].notna()
    ]
    expected = own.groupby("volume_id")["prediction"].mean()  # pooled: checked person by person below
    table = predict_store(bundle, open_store(project / "a.zarr"))
    mine = own.groupby(["participant_id", "session_id"])["prediction"].mean()
    found = table.set_index(["participant_id", "session_id"])["prediction"]
    np.testing.assert_allclose(found[mine.index], mine, atol=1e-3)
    assert np.isfinite(expected).all()
    assert "predicted" not in table


def test_another_cohort_is_judged_in_years(age: Any, project: Path) -> None:
    outside = age.metrics["external"]
    assert outside["ci_method"].startswith("of a fixed model")
    assert outside["threshold"] is None
    rows = age.predictions[age.predictions["set"] == "external"]
    mine = rows[rows["configuration"] == "attention"]
    assert outside["metrics"]["mae"]["value"] == pytest.approx(
        mean_absolute_error(mine["y"], mine["prediction"])
    )
    assert outside["metrics"]["r2"]["value"] == pytest.approx(r2_score(mine["y"], mine["prediction"]))
    assert outside["metrics"]["r2"]["value"] > 0.6
    same = rows[rows["configuration"] == "constant"]["prediction"]
    assert same.nunique() == 1
    assert same.iloc[0] == pytest.approx(age.metrics["outcome"]["mean"], abs=1.5)
    assert outside["comparison"]["constant"]["p"] < 0.01
    run = project / "other"
    given = [str(age.folder), "--store", str(project / "b.zarr"), "--cohort", str(project / "b.tsv")]
    assert slicecache.guarded(slicecache.cli.main, ["evaluate", *given, "--run", str(run)]) == 0
    again = json.loads((run / "evaluate" / "metrics.json").read_text())
    assert again["metrics"]["mae"] == outside["metrics"]["mae"]
    assert {"report.html", "figures"} <= {path.name for path in (run / "evaluate").iterdir()}
    assert "AUROC" not in page(run / "evaluate").split("Make it again")[0]


def test_evaluating_as_another_task_is_refused(age: Any, project: Path, capsys: Any) -> None:
    given = [str(age.folder), "--store", str(project / "b.zarr"), "--cohort", str(project / "b.tsv")]
    more = ["--run", str(project / "no"), "--set", "target={column: group}"]
    assert slicecache.guarded(slicecache.cli.main, ["evaluate", *given, *more]) == 2
    assert (
        "external.target.task is 'classification', but the training's is 'regression'"
        in capsys.readouterr().err
    )


def test_an_ablation_ranks_errors_from_below(project: Path, capsys: Any) -> None:
    given = ["ablate", str(project / "age.yaml"), "--set", "aggregate.shuffle_labels=0"]
    assert slicecache.guarded(slicecache.cli.main, given) == 0
    told = capsys.readouterr().out
    table = pd.read_csv(project / "run" / "ablate" / "ablation.csv")
    assert {"mae", "mae_sd_over_folds", "r2", "bias_slope"} <= set(table)
    rows = table.set_index("configuration")
    assert rows.loc["constant", "mae"] > 2 * rows.loc["abmil", "mae"]
    assert "Primary: abmil is better than the same of everybody (MAE −" in told
    lowest = rows.loc[["mean_pool", "abmil", "huber"], "mae"].idxmin()
    metrics = json.loads((project / "run" / "ablate" / "metrics.json").read_text())
    chosen = metrics["ablation"]["nested_selection"]["chosen"]
    assert metrics["ablation"]["nested_selection"]["mae"]["value"] < 2 * rows.loc[lowest, "mae"]
    assert set(chosen) <= {"mean_pool", "abmil", "huber"}
    assert "(left: better)" in page(project / "run" / "ablate")
    same = next(c for c in metrics["ablation"]["primary"] if "mean_pool" in c["configurations"])
    assert same["difference"] == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "override",
    [
        ("aggregate.leave_group_out=sex", "aggregate.train.epochs=2"),
        ("aggregate.train=auto",),
        (  # its published stop and batches are about classes
            *("aggregate.recipe=mst", "aggregate.head.heads=7", "aggregate.train.epochs=20"),
            *("aggregate.train.watch=loss", "aggregate.train.class_balanced=auto"),
            "aggregate.train.start=baseline",
        ),
    ],
)
def test_other_designs_run_through(project: Path, override: tuple[str, ...]) -> None:
    more = ("aggregate.shuffle_labels=0", "aggregate.external=null", "aggregate.folds={n: 2}")
    found = train(project / "age.yaml", *override, *more, "run.folder=more")
    assert found.metrics["metrics"]["mae"]["value"] < found.metrics["baselines"]["constant"]["mae"]["value"]
    groups = found.metrics.get("groups")
    assert (groups is not None) == ("leave_group_out" in override[0])
    if groups:
        assert groups["M"]["outcome"]["max"] > 60
        assert groups["M"]["metrics"]["mae"]["ci_low"] is not None


@pytest.mark.slow
def test_ordered_classes_from_file_to_bundle(project: Path) -> None:
    classes = "{young: [young], middle: [middle], old: [old]}"
    target = f"aggregate.target={{column: group, task: ordinal, classes: {classes}}}"
    found = train(
        project / "age.yaml",
        target,
        "aggregate.shuffle_labels=3",
        "aggregate.folds={n: 3}",
        "run.folder=ordered",
    )
    metrics = found.metrics
    assert (metrics["task"], metrics["classes"]) == ("ordinal", ["young", "middle", "old"])
    assert metrics["metrics"]["ordinal_c_index"]["value"] > 0.85
    assert metrics["metrics"]["kappa"]["value"] > 0.5
    assert "auroc_pooled" not in metrics["metrics"]
    assert np.sum(metrics["confusion"]["counts"]) == pytest.approx(HERE)
    assert describe_training(found, project).count("label \\ called") == 2  # here, and in the external cohort
    assert metrics["baselines"]["mean_pool_ordinal"]["ordinal_c_index"]["value"] > 0.85
    assert set(found.config["aggregate"]["loss"]) >= {"corn", "cross_entropy"}
    own = found.predictions[found.predictions["set"] == "out_of_fold"]
    p = own[["p_young", "p_middle", "p_old"]].to_numpy()
    np.testing.assert_allclose(p.sum(1), 1)
    np.testing.assert_allclose(p @ np.arange(3), own["expected_rank"])
    bundle = load_bundle(found.folder / "bundle")
    assert bundle.card.n_outputs == 2
    table = predict_store(bundle, open_store(project / "b.zarr"))
    outside = found.metrics["external"]["metrics"]["ordinal_c_index"]["value"]
    assert outside > 0.85
    assert set(table["predicted"]) <= {"young", "middle", "old"}
    assert table["expected_rank"].between(0, 2).all()
    more = ("aggregate.shuffle_labels=0", "aggregate.external=null", "aggregate.folds={n: 3}")
    again = train(
        project / "age.yaml", target, "aggregate.loss={cross_entropy: 1}", *more, "run.folder=logits"
    )
    assert load_bundle(again.folder / "bundle").card.n_outputs == 3
    assert again.metrics["metrics"]["ordinal_c_index"]["value"] > 0.85


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"target": {**YEARS, "positive": "x"}}, "unknown key aggregate.target.positive"),
        ({"target": "age", "loss": {"huber": 1}}, "huber is for a target of kind regression .* classes"),
        ({"loss": {"supcon": 1}}, "supcon is for a target of kind classes .*of kind regression"),
        ({"loss": {"cross_entropy": 1}}, "cross_entropy is for a target of kind classes"),
        ({"recipe": "dinoatten3d"}, "supcon is for a target of kind classes"),
        ({"loss": {"corn": 1}}, "corn is for a target of kind ordinal"),
        ({"target": {**GRADES, "classes": {"a": [1], "b": [2]}}}, "at least 3 classes"),
        ({"target": {"column": "g", "task": "ordinary"}}, "no 'ordinary'; did you mean 'ordinal'"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_one_sentence(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_section({"cohort": "a.tsv", "target": YEARS, **keys})


@pytest.mark.parametrize(
    ("column", "task", "message"),
    [
        ("sex", "regression", r"takes numbers, and column 'sex' of a.tsv holds 'M', 'F'; say by missing"),
        ("flat", "regression", r"column 'flat' is constant \(3\) over the 44 participants"),
        ("few", "regression", "4 participants have a number and a volume of the store; .* at least 10"),
        ("none", "regression", "column 'none' of a.tsv holds no value"),
        (
            "group",
            "ordinal",
            r"needs the classes of 'group' in their order, e.g. classes: \{middle: \[middle\]",
        ),
        ("age", None, "task: regression"),
    ],
)
def test_a_column_that_cannot_be_such_a_target_is_one_sentence(
    project: Path, tmp_path: Path, column: str, task: str | None, message: str
) -> None:
    table = pd.read_csv(project / "a.tsv", sep="\t").assign(flat=3, none="n/a")
    table["few"] = ["n/a"] * (len(table) - 4) + [1, 2, 3, 4]
    table.to_csv(tmp_path / "a.tsv", sep="\t", index=False)
    target = {"column": column, **({"task": task} if task else {})}
    section = {"cohort": str(tmp_path / "a.tsv"), "target": target}
    file = tmp_path / "p.yaml"
    data = {"run": {"folder": "r"}, "cache": {"store": str(project / "a.zarr")}, "aggregate": section}
    file.write_text(yaml.safe_dump(data))
    with pytest.raises(SlicecacheError, match=message):
        train(file)


@pytest.mark.slow
def test_the_resolved_pipeline_trains_the_same_again(age: Any, project: Path) -> None:
    again = train(
        age.folder / "config.yaml",
        "run.folder=again",
        "aggregate.shuffle_labels=0",
        "aggregate.external=null",
    )
    assert again.metrics["metrics"] == age.metrics["metrics"]


def test_the_python_face_trains_numbers_and_the_classifier_says_that_it_cannot(project: Path) -> None:
    found = slicecache.train(
        store=project / "a.zarr", cohort=project / "a.tsv", target=YEARS, folds={"n": 3}, train={"epochs": 2}
    )
    assert found.metrics["metrics"]["mae"]["value"] < 8
    assert "mae" in found.table


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "divination"}, "task is 'divination', which is none of classification, ordinal"),
        ({"task": "classification"}, "classification does not go with 0 classes"),
        ({"classes": ["a", "b"]}, "regression does not go with 2 classes"),
        ({"outputs": 0}, "greater than or equal to 1"),
    ],
)
def test_a_bundle_that_contradicts_itself_is_refused(age: Any, changes: dict[str, Any], message: str) -> None:
    card = json.loads((age.folder / "bundle" / "bundle.json").read_text())
    assert (card["task"], card["outputs"]) == ("regression", 1)
    with pytest.raises(ValidationError, match=message):
        BundleCard.model_validate({**card, **changes})
