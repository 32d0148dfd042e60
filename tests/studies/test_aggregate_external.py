"""An external cohort: nothing is fitted on it, nobody of it was in training, and its numbers are right."""

import html.parser
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from made_up_people import people_store as make_store
from made_up_people import people_table as make_table
from made_up_people import words
from sklearn.metrics import roc_auc_score

import slicecache
from aggregate.bags.bags import read_bags
from aggregate.baselines.baselines import mean_pool
from aggregate.cli import train_and_report
from aggregate.config.section import read_aggregate_section
from aggregate.predict.bundle import load_bundle
from aggregate.predict.predict import predict_store
from aggregate.statistics.delong import delong_interval
from aggregate.statistics.recalibration import recalibrate
from aggregate.train.terminal import training_summary
from cache_schema.common.errors import SlicecacheError
from cache_schema.common.pipeline_file import load_pipeline
from cache_schema.store.reader import open_store

LOOKS_AT_FIGURES = True

TRAINED, OUTSIDE = 41, 29


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a trained run, and the store and table of another cohort."""
    folder = tmp_path_factory.mktemp("external")
    here, there = [f"sub-a{i:02d}" for i in range(TRAINED)], [f"sub-b{i:02d}" for i in range(OUTSIDE)]
    sick, ill = [i % 2 == 0 for i in range(TRAINED)], [i % 3 == 0 for i in range(OUTSIDE)]
    make_store(folder / "a.zarr", here, sick, 1)
    make_store(folder / "b.zarr", there, ill, 2)
    make_table(folder / "a.tsv", here, words(sick))
    make_table(folder / "b.tsv", there, words(ill))
    section = {
        "cohort": "a.tsv",
        "target": "diagnosis",
        "train": {"epochs": 8, "learning_rate": 0.01},
        "folds": {"n": 3, "minimum_per_class": 10},
    }
    data = {"run": {"folder": "run"}, "cache": {"store": "a.zarr"}, "aggregate": section}
    (folder / "pipeline.yaml").write_text(yaml.safe_dump(data))
    train(folder / "pipeline.yaml")
    return folder


def train(file: Path, *overrides: str) -> Any:
    loaded = load_pipeline(file, overrides)
    return train_and_report(loaded, read_aggregate_section(loaded), 0)


def evaluate(folder: Path, run: Path, *more: str, store: str = "b.zarr", cohort: str = "b.tsv") -> int:
    """The command, into a run folder of the test's own."""
    given = [str(folder / "run"), "--store", str(folder / store), "--cohort", str(folder / cohort)]
    return slicecache.guarded(slicecache.cli.main, ["evaluate", *given, "--run", str(run), *more])


def read(run: Path) -> tuple[dict[str, Any], pd.DataFrame]:
    table = pd.read_csv(run / "evaluate" / "predictions.csv", keep_default_na=False, na_values=[""])
    return json.loads((run / "evaluate" / "metrics.json").read_text()), table


def test_the_folder_is_as_the_design_has_it(trained: Path, tmp_path: Path) -> None:
    assert evaluate(trained, tmp_path) == 0
    folder = tmp_path / "evaluate"
    names = {"config.yaml", "metrics.json", "predictions.csv", "report.html", "figures", "log.txt"}
    names |= {"methods.md", "references.bib", "tables", "checklist.html", "requirements.lock", "report.json"}
    assert {path.name for path in folder.iterdir()} == names
    drawn = {"roc", "calibration", "decision_curve", "confusion", "scores", "precision_recall", "cohort_flow"}
    assert {path.name for path in (folder / "figures").iterdir()} == {
        "captions.md",
        *(f"{name}.{kind}" for name in drawn for kind in ("svg", "csv", "pdf")),
    }
    html.parser.HTMLParser().feed((folder / "report.html").read_text())
    assert "Outside training" in (tmp_path / "index.html").read_text()


def test_the_scores_are_those_of_predict_and_the_numbers_those_of_references(
    trained: Path, tmp_path: Path
) -> None:
    evaluate(trained, tmp_path)
    metrics, table = read(tmp_path)
    head = table[table["configuration"] == "attention"].set_index("participant_id")
    bundle = load_bundle(trained / "run" / "train" / "bundle")
    said = predict_store(bundle, open_store(str(trained / "b.zarr"))).set_index("participant_id")
    for column in ("logit_patient", "p_patient", "threshold"):
        np.testing.assert_allclose(head[column], said.loc[head.index, column], rtol=0, atol=1e-9)
    assert set(head["set"]) == {"external"}
    y, p = (head["y"] == "patient").to_numpy().astype(int), head["p_patient"].to_numpy()
    logit = np.log(p / head["p_control"].to_numpy())
    found = metrics["metrics"]
    assert found["auroc"]["value"] == pytest.approx(roc_auc_score(y, logit))
    interval = delong_interval(y, logit)
    assert found["auroc"]["ci_low"] == pytest.approx(interval.low)
    assert found["sensitivity"]["value"] == pytest.approx(np.mean(p[y == 1] >= metrics["threshold"]))
    assert found["brier"]["value"] == pytest.approx(np.mean((p - y) ** 2))
    slope = recalibrate(y, logit).slope
    assert found["calibration_slope"]["value"] == pytest.approx(slope.value)
    bare = table[table["configuration"] == "mean_pool_logistic"]
    logit = np.log(bare["p_patient"] / bare["p_control"])
    other = metrics["baselines"]["mean_pool_logistic"]
    assert other["auroc"]["value"] == pytest.approx(roc_auc_score(bare["y"] == "patient", logit))
    compared = metrics["comparison"]["mean_pool_logistic"]
    assert compared["difference"] == pytest.approx(found["auroc"]["value"] - other["auroc"]["value"])
    assert metrics["threshold"] == pytest.approx(np.mean([m.threshold for m in bundle.card.members]))


def test_train_judges_the_external_cohort_that_its_pipeline_names(trained, tmp_path) -> None:
    evaluate(trained, tmp_path)
    alone, _ = read(tmp_path)
    place = ["run.folder=" + str(tmp_path / "run"), "aggregate.external={store: b.zarr, cohort: b.tsv}"]
    results = train(trained / "pipeline.yaml", *place)
    found = json.loads((tmp_path / "run" / "train" / "metrics.json").read_text())["external"]
    assert found["metrics"] == alone["metrics"]
    table = pd.read_csv(tmp_path / "run" / "train" / "predictions.csv")
    assert table["set"].value_counts()["external"] == 4 * OUTSIDE  # mean pooling, scanner, head size beside
    assert results.predictions["repeat"].isna().sum() == 4 * OUTSIDE
    figures = {path.name for path in (tmp_path / "run" / "train" / "figures").iterdir()}
    assert {"external_roc.svg", "external_roc.csv", "external_decision_curve.csv"} <= figures
    report = re.sub("</?abbr[^>]*>", "", (tmp_path / "run" / "train" / "report.html").read_text())
    assert "Out-of-fold ROC" in report
    assert "Decision curve" in report
    resolved = yaml.safe_load((tmp_path / "run" / "train" / "config.yaml").read_text())
    assert resolved["aggregate"]["external"]["cohort"] == str(trained / "b.tsv")


def test_a_mistake_in_external_is_found_before_training(trained, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("aggregate.train.harmonised.cross_validate", lambda *_: pytest.fail("it trained"))
    place = ["run.folder=" + str(tmp_path / "run"), "aggregate.external={store: a.zarr, cohort: a.tsv}"]
    with pytest.raises(SlicecacheError, match="in training: 41 participants"):
        train(trained / "pipeline.yaml", *place)


def test_a_training_with_the_same_participants_is_refused(trained, tmp_path, capsys) -> None:
    assert evaluate(trained, tmp_path, store="a.zarr", cohort="a.tsv") == 2
    assert "volumes that were in training: 41 participants (sub-a00" in capsys.readouterr().err
    assert not (tmp_path / "evaluate" / "metrics.json").exists()


def test_a_shared_id_is_refused_unless_it_is_somebody_else(trained, tmp_path, capsys) -> None:
    ids = ["a00", *(f"c{i:02d}" for i in range(12))]  # the training calls its own sub-a00
    sick = [i % 2 == 0 for i in range(13)]
    make_store(tmp_path / "c.zarr", ids, sick, 3)
    make_table(tmp_path / "c.tsv", ids, words(sick))
    given = {"store": str(tmp_path / "c.zarr"), "cohort": str(tmp_path / "c.tsv")}
    assert evaluate(trained, tmp_path, **given) == 2
    assert "were in training: 1 participant (a00)" in capsys.readouterr().err
    assert evaluate(trained, tmp_path, "--set", "own_ids=true", **given) == 0
    assert read(tmp_path)[0]["n_participants"] == 13


def test_a_copy_under_another_id_is_refused(trained, tmp_path, capsys) -> None:
    names = [f"sub-x{i:02d}" for i in range(TRAINED)]
    sick = [i % 2 == 0 for i in range(TRAINED)]
    make_store(tmp_path / "x.zarr", names, sick, 1)  # the training's tokens, the files' bytes differ
    make_table(tmp_path / "x.tsv", names, words(sick))
    assert evaluate(trained, tmp_path, store=str(tmp_path / "x.zarr"), cohort=str(tmp_path / "x.tsv")) == 2
    assert "equal file or equal content" in capsys.readouterr().err


def test_labels_that_training_did_not_know_are_left_out_and_counted(trained, tmp_path, capsys) -> None:
    people = [f"sub-b{i:02d}" for i in range(OUTSIDE)]
    labels = ["AD" if i % 3 == 0 else "CN" if i % 3 == 1 else "MCI" for i in range(OUTSIDE)]
    make_table(tmp_path / "other.tsv", people, labels, column="DX")
    mapped = "target={column: DX, classes: {patient: [AD], control: [CN]}}"
    assert evaluate(trained, tmp_path, "--set", mapped, cohort=str(tmp_path / "other.tsv")) == 0
    metrics, _ = read(tmp_path)
    assert metrics["n_per_class"] == {"control": 10, "patient": 10}
    assert sum(row["reason"] == "target MCI is in no class" for row in metrics["left_out"]) == 9
    assert "target MCI is in no class" in capsys.readouterr().out
    other = "target={column: DX, classes: {patient: [AD], control: [CN], mild: [MCI]}}"
    assert evaluate(trained, tmp_path, "--set", other, cohort=str(tmp_path / "other.tsv")) == 2
    assert "must name the training's classes control, patient" in capsys.readouterr().err


def test_sessions_of_a_participant_count_once(trained, tmp_path) -> None:
    people, sick = [f"p{i:02d}" for i in range(15)], [i % 2 == 0 for i in range(15)]
    make_store(tmp_path / "s.zarr", people, sick, 4, sessions=3)
    make_table(tmp_path / "s.tsv", people, words(sick))
    given = {"store": str(tmp_path / "s.zarr"), "cohort": str(tmp_path / "s.tsv")}
    assert evaluate(trained, tmp_path, "--set", "sessions=all", **given) == 0
    metrics, table = read(tmp_path)
    assert (metrics["n_participants"], metrics["n_bags"]) == (15, 45)
    head = table[table["configuration"] == "attention"]
    logit = np.log(head["p_patient"] / head["p_control"]).groupby(head["participant_id"]).mean()
    assert metrics["metrics"]["auroc"]["value"] == pytest.approx(roc_auc_score(sick, logit[people]))


def test_a_bundle_without_a_run_folder_asks_for_one(trained, tmp_path, capsys) -> None:
    (trained / "run" / "train" / "bundle").rename(tmp_path / "sent")
    try:
        given = ["--store", str(trained / "b.zarr"), "--cohort", str(trained / "b.tsv")]
        code = slicecache.guarded(slicecache.cli.main, ["evaluate", str(tmp_path / "sent"), *given])
    finally:
        (tmp_path / "sent").rename(trained / "run" / "train" / "bundle")
    assert code == 2
    assert "--run" in capsys.readouterr().err


def test_each_site_is_judged_by_the_models_that_saw_nobody_of_it(trained, tmp_path) -> None:
    people, sick = [f"sub-a{i:02d}" for i in range(TRAINED)], [i % 2 == 0 for i in range(TRAINED)]
    rows = [
        f"{p}\t{w}\t{'NSW'[i * 3 // TRAINED]}"
        for i, (p, w) in enumerate(zip(people, words(sick), strict=True))
    ]
    (tmp_path / "sites.tsv").write_text("\n".join(["participant_id\tdiagnosis\tsite", *rows]) + "\n")
    place = [f"run.folder={tmp_path / 'run'}", f"aggregate.cohort={tmp_path / 'sites.tsv'}"]
    found = train(trained / "pipeline.yaml", *place, "aggregate.leave_group_out=site", "aggregate.seeds=2")
    groups = found.metrics["groups"]
    assert {name: group["n_participants"] for name, group in groups.items()} == {"N": 14, "S": 14, "W": 13}
    bundle = load_bundle(tmp_path / "run" / "train" / "bundle")
    assert [len(member.participants) for member in bundle.card.members] == [27, 27, 27, 27, 28, 28]
    said = predict_store(bundle, open_store(str(trained / "a.zarr"))).set_index("participant_id")
    south = [p for i, p in enumerate(people) if i * 3 // TRAINED == 1]
    y = np.array([i % 2 == 0 for i in range(TRAINED) if i * 3 // TRAINED == 1])
    own = said.loc[south]
    logit = np.log(own["p_patient"] / own["p_control"])
    assert groups["S"]["metrics"]["auroc"]["value"] == pytest.approx(roc_auc_score(y, logit))
    assert groups["S"]["metrics"]["auroc"]["ci_low"] is not None
    assert groups["S"]["comparison"]["mean_pool_logistic"]["p"] is not None
    report = (tmp_path / "run" / "train" / "report.html").read_text()
    assert "Group by group, each left out of training" in report
    assert "without S: auroc" in training_summary(found)


def test_python_gives_what_the_command_gives(trained, tmp_path) -> None:
    evaluate(trained, tmp_path / "command")
    metrics, _ = read(tmp_path / "command")
    table = pd.read_csv(trained / "b.tsv", sep="\t")
    found = slicecache.evaluate(trained / "run", slicecache.open(trained / "b.zarr"), table)
    assert found.folder is None
    assert found.metrics["metrics"] == metrics["metrics"]
    assert set(found.curves) == {"roc", "calibration", "decision_curve"}
    assert found.table.loc["attention", "auroc"] == metrics["metrics"]["auroc"]["value"]
    found.save(tmp_path / "saved")
    assert read(tmp_path / "saved")[0]["metrics"] == metrics["metrics"]
    assert (tmp_path / "saved" / "evaluate" / "report.html").exists()
    half = slicecache.evaluate(trained / "run", trained / "b.zarr", table.iloc[:15])
    assert half.metrics["n_participants"] == 15
    assert len(half.left_out) == OUTSIDE - 15


def test_mean_pooling_in_the_bundle_is_what_its_folds_were_fitted_to(trained: Path) -> None:
    """On its own cohort every solution gives its fold's out-of-fold predictions."""
    bundle = load_bundle(trained / "run" / "train" / "bundle")
    store = open_store(str(trained / "a.zarr"))
    x = mean_pool(read_bags(store, store.entries, "cls"))
    people = [entry.key.participant_id for entry in store.entries]
    rows = pd.read_csv(trained / "run" / "train" / "predictions.csv")
    rows = rows[rows["configuration"] == "mean_pool_logistic"].set_index("participant_id")
    assert len(bundle.mean_pooling) == 3
    for fold, solution in enumerate(bundle.mean_pooling):
        test = rows[rows["fold"] == fold]
        found = solution.log_probabilities(x[[people.index(name) for name in test.index]])
        np.testing.assert_allclose(found[:, 1], test["logit_patient"], atol=1e-9)
