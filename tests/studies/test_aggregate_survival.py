"""A survival study as a whole on made-up stores: what is found, what is not, what is refused."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from made_up_people import people_store

from aggregate.ablate.ablate import ablate_pipeline
from aggregate.ablate.terminal import ablation_summary
from aggregate.bags.bags import read_bags
from aggregate.cli import train_and_report
from aggregate.common.signed_times import signed_times
from aggregate.config.section import read_aggregate_section
from aggregate.predict.bundle import load_bundle
from aggregate.predict.predict import predict_store
from aggregate.present import present_ablation
from aggregate.statistics.survival import c_index, risk_groups
from aggregate.targets.survival import Survival
from aggregate.train.terminal import training_summary
from aggregate.training.stacked import apply_head
from cache_schema.common.errors import SlicecacheError
from cache_schema.common.pipeline_file import load_pipeline
from cache_schema.store.reader import open_store

N, OUTSIDE = 40, 30
TARGET = {"task": "survival", "column": "months", "event": "converted"}


def follow_up(n: int, seed: int, effect: float = 2.0) -> pd.DataFrame:
    """Who is observed for how long, with a trait that multiplies the hazard by `exp(effect)` a unit."""
    generator = np.random.default_rng(seed)
    trait = generator.normal(size=n)
    event, end = generator.exponential(20 * np.exp(-effect * trait)), generator.uniform(5, 60, n)
    return pd.DataFrame(
        {
            "participant_id": [f"sub-{seed}{i:02d}" for i in range(n)],
            "trait": trait,
            "age": 60 + generator.integers(0, 20, n),
            "months": (np.minimum(event, end) + 0.1).round(1),
            "converted": (event <= end).astype(int),
        }
    )


def train(file: Path, *overrides: str, shuffle: int = 0) -> Any:
    """Train in this process."""
    loaded = load_pipeline(file, [f"aggregate.{one}" for one in overrides])
    return train_and_report(loaded, read_aggregate_section(loaded), shuffle)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with stores whose tokens show the trait, their tables, and a pipeline over them."""
    folder = tmp_path_factory.mktemp("survival")
    for name, table in (("a", follow_up(N, 1)), ("b", follow_up(OUTSIDE, 2))):
        people = table["participant_id"].tolist()
        people_store(folder / f"{name}.zarr", people, table["trait"].tolist(), 1, effect=3.0)
        table.drop(columns="trait").to_csv(folder / f"{name}.csv", index=False)
    section = {
        "cohort": "a.csv",
        "target": TARGET,
        "train": {"epochs": 15},
        "folds": {"n": 4, "repeats": 2},
        "external": {"store": "b.zarr", "cohort": "b.csv"},
    }
    pipeline = {"run": {"folder": "run"}, "cache": {"store": "a.zarr"}, "aggregate": section}
    (folder / "pipeline.yaml").write_text(yaml.safe_dump(pipeline))
    return folder


@pytest.fixture(scope="module")
def trained(project: Path) -> Any:
    """Its results."""
    return train(project / "pipeline.yaml", shuffle=3)


def other(project: Path, tmp_path: Path, **columns: Any) -> Path:
    """A pipeline over the same store with other columns in its table, and nothing that takes time."""
    data = yaml.safe_load((project / "pipeline.yaml").read_text())
    data["run"]["folder"], data["cache"]["store"] = str(tmp_path / "run"), str(project / "a.zarr")
    del data["aggregate"]["external"]
    data["aggregate"] |= {"train": {"epochs": 3}, "baselines": ["mean_pool_logistic"]}
    table = pd.read_csv(project / "a.csv").assign(**columns)
    table.to_csv(tmp_path / "a.csv", index=False)
    (tmp_path / "pipeline.yaml").write_text(yaml.safe_dump(data))
    return tmp_path / "pipeline.yaml"


def test_the_brier_score_stands_beside_one_curve_for_everybody(trained: Any) -> None:
    found = json.loads((trained.folder / "metrics.json").read_text())["brier"]
    assert list(found["scores"]) == ["attention", "mean_pool_cox", "constant"]
    values = {name: one["value"] for name, one in found["scores"].items()}
    assert values["mean_pool_cox"] < values["constant"] < 0.25
    assert (
        found["scores"]["attention"]["ci_low"] < values["attention"] < found["scores"]["attention"]["ci_high"]
    )
    assert found["comparison"]["constant"]["difference"] == pytest.approx(
        values["attention"] - values["constant"]
    )
    assert found["said"] in training_summary(trained)
    assert "constant: integrated Brier score " in training_summary(trained)
    assert found["said"] in re.sub("</?abbr[^>]*>", "", (trained.folder / "report.html").read_text())


def test_a_planted_hazard_is_found_and_told(trained):
    metrics = json.loads((trained.folder / "metrics.json").read_text())
    found = metrics["metrics"]["c_index"]
    assert (metrics["task"], metrics["primary"]) == ("survival", "c_index")
    assert found["ci_low"] > 0.6
    assert metrics["baselines"]["mean_pool_cox"]["c_index"]["value"] > 0.75
    assert metrics["null"]["c_index"]["mean"] < 0.65
    groups = metrics["risk_groups"]
    assert groups["high"]["n"] + groups["low"]["n"] == N
    assert groups["log_rank_p"] < 0.01
    assert groups["high"]["median_time"] < (groups["low"]["median_time"] or 60)
    told = training_summary(trained)
    assert f"months: {N} participants ({metrics['outcome']['events']:g} with the event; followed up" in told


def test_the_report_shows_the_curves_and_no_word_of_classes(trained):
    report = (trained.folder / "report.html").read_text()
    assert "C-index with 95 % interval; dashed line: guessing" in report
    assert 'aria-label="Share without the event at the end, months' in report
    assert re.search(r"Log-rank test: p (= 0\.0\d\d|&lt; 0\.001); it describes", report)
    assert "AUROC" not in report.split(">Cohort</h2>")[0]
    assert "positive class" not in report


def test_predictions_hold_times_and_risks_and_give_the_metrics_again(trained):
    table = pd.read_csv(trained.folder / "predictions.csv")
    table = table[table["set"] == "out_of_fold"]
    truth = follow_up(N, 1).set_index("participant_id")
    head = table[table["configuration"] == "attention"]
    assert (head["y_time"].to_numpy() == truth.loc[head["participant_id"], "months"].to_numpy()).all()
    assert (head["y_event"].to_numpy() == truth.loc[head["participant_id"], "converted"].to_numpy()).all()
    by_fold = [
        c_index(signed_times(fold["y_time"], fold["y_event"]), fold["risk"].to_numpy())
        for _, fold in head.groupby(["repeat", "fold"])
    ]
    metrics = trained.metrics
    assert np.nanmean(by_fold) == pytest.approx(metrics["metrics"]["c_index"]["value"], abs=1e-9)
    people = head.groupby("participant_id")[["y_time", "y_event", "risk"]].mean()
    again = risk_groups(signed_times(people["y_time"], people["y_event"]), people["risk"].to_numpy())
    assert again == metrics["risk_groups"]


def test_risk_0_is_the_median_of_the_training_part(project, trained):
    bundle, store = load_bundle(trained.folder / "bundle"), open_store(project / "a.zarr")
    names = [entry.key.participant_id for entry in store.entries]
    bags = read_bags(store, store.entries, "cls")
    risks = apply_head(bundle.head(), bundle.states, bags).logits[..., 0]
    for own, member in zip(risks, bundle.card.members, strict=True):
        inside = torch.tensor([name in member.participants for name in names])
        assert inside.sum() == 30
        assert own[inside].quantile(0.5) == pytest.approx(0, abs=1e-5)


def test_the_bundle_gives_the_risks_that_training_gave(project, trained):
    table = predict_store(load_bundle(trained.folder / "bundle"), open_store(project / "a.zarr"))
    own = trained.predictions
    own = own[(own["configuration"] == "attention") & (own["set"] == "out_of_fold")]
    expected = own.groupby("participant_id")["risk"].mean()
    found = table.set_index("participant_id").loc[expected.index]
    np.testing.assert_allclose(found["risk"].astype(float), expected, atol=1e-5)
    assert (found["risk_group"] == np.where(expected > 0, "high", "low")).all()


def test_an_external_cohort_is_judged_by_the_frozen_risk(trained):
    metrics = trained.metrics["external"]
    table = trained.predictions
    own = table[(table["set"] == "external") & (table["configuration"] == "attention")]
    signed = signed_times(own["y_time"], own["y_event"])
    found = metrics["metrics"]["c_index"]
    assert found["value"] == pytest.approx(c_index(signed, own["risk"].to_numpy()), abs=1e-9)
    assert 0.6 < found["ci_low"] < found["value"] < found["ci_high"] <= 1
    assert metrics["risk_groups"] == risk_groups(signed, own["risk"].to_numpy())
    beside = metrics["comparison"]["mean_pool_cox"]
    # Who is ordered alike by both differs by nothing, and nothing is tested.
    assert beside["difference"] == 0 if beside["p"] is None else beside["p"] > 0.01
    assert (trained.folder / "figures" / "external_risk_groups.csv").exists()
    assert "above and below the training's median risk" in (trained.folder / "report.html").read_text()


def test_nothing_is_found_where_nothing_is_planted(project, tmp_path):
    """Times and events of other people."""
    order = np.random.default_rng(0).permutation(N)
    table = follow_up(N, 1).iloc[order].reset_index(drop=True)
    file = other(project, tmp_path, months=table["months"], converted=table["converted"])
    found = train(file).metrics["metrics"]["c_index"]
    assert found["ci_low"] < 0.5 < found["ci_high"]


def test_heads_start_at_cox_ridge_and_mean_stays_there(project, tmp_path):
    """Head `mean` under Cox's loss is the baseline: the same risks."""
    frame = train(other(project, tmp_path), "head.kind=mean", "folds.repeats=1").predictions
    risks = frame.set_index("participant_id").groupby("configuration")["risk"]
    ours, bar = (risks.get_group(name) for name in ("mean", "mean_pool_cox"))
    np.testing.assert_allclose(ours, bar[ours.index], atol=1e-5)


def test_a_head_with_embedding_layers_learns_from_its_whole_training_part(project, tmp_path):
    head = "head={kind: mean, embedding: [8]}"
    results = train(other(project, tmp_path), head, "train.epochs=40", "train.learning_rate=0.01")
    assert results.metrics["metrics"]["c_index"]["value"] > 0.6


REFUSED = {
    "a negative time": ({"months": -3.0}, [], "takes times of 0 or more, and column 'months' .* '-3.0'"),
    "text for a time": ({"months": "soon"}, [], "takes times of 0 or more, .* 'soon'"),
    "nobody with the event": ({"converted": 0}, [], "none of the 40 participants .* has the event"),
    "odd events": ({"converted": "alive"}, [], "values mean that the event was seen, e.g. event: {column"),
    "a class": ({}, ["target.positive=1"], "positive is for classes; task: survival takes column"),
    "no event column": ({}, ["target.event=died"], "has no column 'died'"),
    "a loss of classes": ({}, ["loss.cross_entropy=1"], "cross_entropy is for a target of kind classes"),
    "small batches": ({}, ["train.batch_size=16"], "loss cox needs the whole training part .30 bags. in one"),
    "balanced batches": ({}, ["train.class_balanced=true"], "class_balanced is for classes, and loss cox"),
    "few events": (
        {"converted": [1, 1] + [0] * (N - 2)},
        [],
        "fold . tests nobody with the event, so there is no risk to learn or to judge",
    ),
}


@pytest.mark.parametrize(("columns", "overrides", "sentence"), REFUSED.values(), ids=REFUSED)
def test_refused_in_one_sentence(project, tmp_path, columns, overrides, sentence):
    file = other(project, tmp_path, **columns)
    with pytest.raises(SlicecacheError, match=sentence) as refused:
        train(file, *overrides)
    assert "\n" not in str(refused.value)


def test_who_was_not_observed_is_left_out_and_values_have_names(project, tmp_path):
    table = follow_up(N, 1)
    months = table["months"].astype(object)
    months[[0, 1]] = [0, "n/a"]
    status = table["converted"].map({0: "stable", 1: "MCI to AD"})
    status[2] = ""
    file = other(project, tmp_path, months=months, converted=status)
    event = "target.event={column: converted, values: [MCI to AD]}"
    results = train(file, event, "head.kind=mean", "folds.repeats=1")
    reasons = {row["participant_id"]: row["reason"] for row in results.left_out}
    assert reasons == {
        "sub-100": "no time under observation (0)",
        "sub-101": "target missing (n/a)",
        "sub-102": "event missing",
    }
    with pytest.raises(
        SlicecacheError, match=r"target\.event\.values: dead does not occur in column 'converted'"
    ):
        train(file, "target.event={column: converted, values: [dead]}")


def test_times_read_as_people_write_them():
    values = np.array([[12.5], [-30.0]])
    assert Survival().shown(values) == ["12.5", "30+"]
    y, names = Survival().stratify(values, np.array([0, 1]))
    assert (y.tolist(), names) == ([1, 0], ("none, 30 to 30", "event, 12.5 to 12.5"))
    told = Survival.spread_words(Survival().spread(values))
    assert told == "1 with the event; followed up for 30 (median), at most 30"


def test_the_page_is_a_study_in_few_lines(project, tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "survival.md").read_text()
    (block,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert len(block.splitlines()) < 25
    data = yaml.safe_load(block)
    data["run"]["folder"], data["cache"]["store"] = str(tmp_path / "run"), str(project / "a.zarr")
    data["aggregate"] |= {"cohort": str(project / "a.csv"), "train": {"epochs": 2}, "folds": {"n": 3}}
    (tmp_path / "page.yaml").write_text(yaml.safe_dump(data))
    assert train(tmp_path / "page.yaml").metrics["metrics"]["c_index"]["value"] > 0.6


def test_configurations_are_compared_by_c(project, tmp_path):
    data = yaml.safe_load(other(project, tmp_path).read_text())
    ablate = {"configurations": {"mean": {"head.kind": "mean"}, "abmil": {"head.kind": "attention"}}}
    data["aggregate"]["ablate"] = {**ablate, "reference": "mean", "primary": [["abmil", "mean"]]}
    (tmp_path / "ablate.yaml").write_text(yaml.safe_dump(data))
    results = ablate_pipeline(load_pipeline(tmp_path / "ablate.yaml"))
    present_ablation(results, tmp_path)
    assert "C-index" in ablation_summary(results)
    table = pd.read_csv(results.folder / "ablation.csv").set_index("configuration")
    assert table.loc["mean", "c_index"] > 0.7
    assert table.loc["mean_pool_cox", "c_index"] == pytest.approx(table.loc["mean", "c_index"], abs=0.01)


def test_a_participant_has_one_time_whatever_the_session():
    task, values = Survival(), np.array([[5.0], [5.0], [-7.0]])
    task.check(values, ["a", "a", "b"], "months", ())
    with pytest.raises(SlicecacheError, match="they change between the sessions of b; use sessions: first"):
        task.check(np.array([[5.0], [-7.0], [7.0]]), ["a", "b", "b"], "months", ())


def test_every_site_is_judged_by_the_models_without_it(project, tmp_path):
    sites = {"site": ["one", "two"] * (N // 2)}
    results = train(other(project, tmp_path, **sites), "leave_group_out=site", "head.kind=mean")
    assert set(results.metrics["groups"]) == {"one", "two"}
    assert "mean pools in a fixed way and is Cox regression on what it pools" in training_summary(results)
    report = (results.folder / "report.html").read_text()
    assert re.search(r"<td>\d+ with the event; followed up for [\d.]+ \(median\)", report)
