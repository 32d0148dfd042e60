"""A survival study as a whole on a small made-up store: what is found, what is not, what is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from aggregate.bags.bags import read_bags
from aggregate.cli import train_and_report
from aggregate.common.signed_times import signed_times
from aggregate.config.section import read_aggregate_section
from aggregate.predict.bundle import load_bundle
from aggregate.statistics.survival import c_index, risk_groups
from aggregate.targets.survival import Survival
from aggregate.training.stacked import apply_head
from cache_schema.common.errors import SlicecacheError
from cache_schema.common.pipeline_file import load_pipeline
from cache_schema.store.reader import open_store

N = 40
TARGET = {"task": "survival", "column": "months", "event": "converted"}


def follow_up(effect: float, seed: int = 0) -> pd.DataFrame:
    """Who is observed for how long, with a trait that multiplies the hazard by `exp(effect)` a unit."""
    generator = np.random.default_rng(seed)
    trait = generator.normal(size=N)
    event, end = generator.exponential(20 * np.exp(-effect * trait)), generator.uniform(5, 60, N)
    return pd.DataFrame(
        {
            "participant_id": [f"sub-{i:02d}" for i in range(N)],
            "trait": trait,
            "age": 60 + generator.integers(0, 20, N),
            "months": (np.minimum(event, end) + 0.1).round(1),
            "converted": (event <= end).astype(int),
        }
    )


@pytest.fixture
def project(make_store: Any, scan: type, tmp_path: Path) -> Any:
    """Makes a store whose tokens show the trait, a table, and a pipeline over them."""

    def make(effect: float = 2.0, **changes: Any) -> Path:
        table = follow_up(effect)
        rows = enumerate(zip(table["participant_id"], table["trait"], strict=True))
        make_store([scan(name, n_slices=2 + i % 4, shift=trait) for i, (name, trait) in rows])
        table.assign(**changes).to_csv(tmp_path / "table.csv", index=False)
        section = {
            "cohort": "table.csv",
            "target": TARGET,
            "train": {"epochs": 15},
            "folds": {"n": 4, "repeats": 2},
        }
        pipeline = {"run": {"folder": "run"}, "cache": {"store": "cohort.zarr"}, "aggregate": section}
        file = tmp_path / "pipeline.yaml"
        file.write_text(yaml.safe_dump(pipeline))
        return file

    return make


def train(file: Path, *overrides: str, shuffle: int = 0) -> Any:
    """Train in this process."""
    loaded = load_pipeline(file, overrides)
    return train_and_report(loaded, read_aggregate_section(loaded), shuffle)


def test_a_planted_hazard_is_found_and_told(project):
    file = project()
    train(file, shuffle=3)
    folder = file.parent / "run" / "train"
    metrics = json.loads((folder / "metrics.json").read_text())
    found = metrics["metrics"]["c_index"]
    assert (metrics["task"], metrics["primary"]) == ("survival", "c_index")
    assert found["ci_low"] > 0.6
    assert metrics["baselines"]["mean_pool_cox"]["c_index"]["value"] > 0.75
    assert metrics["null"]["c_index"]["mean"] < 0.65
    groups = metrics["risk_groups"]
    assert groups["high"]["n"] + groups["low"]["n"] == N
    assert groups["log_rank_p"] < 0.01
    assert groups["high"]["median_time"] < (groups["low"]["median_time"] or 60)
    report = (folder / "report.html").read_text()
    assert "C-index" in report
    assert 'aria-label="Share without the event at the end, months' in report
    assert "AUROC" not in report


def test_predictions_hold_times_and_risks_and_give_the_metrics_again(project):
    file = project()
    metrics = train(file).metrics
    table = pd.read_csv(file.parent / "run" / "train" / "predictions.csv")
    assert {"y_time", "y_event", "risk", "risk_group"} <= set(table)
    truth = follow_up(2.0).set_index("participant_id")
    head = table[table["configuration"] == "attention"]
    assert (head["y_time"].to_numpy() == truth.loc[head["participant_id"], "months"].to_numpy()).all()
    by_fold = [
        c_index(signed_times(fold["y_time"], fold["y_event"]), fold["risk"].to_numpy())
        for _, fold in head.groupby(["repeat", "fold"])
    ]
    assert np.nanmean(by_fold) == pytest.approx(metrics["metrics"]["c_index"]["value"], abs=1e-9)
    people = head.groupby("participant_id")[["y_time", "y_event", "risk"]].mean()
    again = risk_groups(signed_times(people["y_time"], people["y_event"]), people["risk"].to_numpy())
    assert again["high"]["n"] == metrics["risk_groups"]["high"]["n"]


def test_risk_0_is_the_median_of_the_training_part(project):
    results = train(project(), "aggregate.train.epochs=5", "aggregate.folds.repeats=1")
    bundle = load_bundle(results.folder / "bundle")
    store = open_store(results.folder.parents[1] / "cohort.zarr")
    names = [entry.key.participant_id for entry in store.entries]
    bags = read_bags(store, store.entries, "cls")
    risks = apply_head(bundle.head(), bundle.states, bags).logits[..., 0]
    for own, member in zip(risks, bundle.card.members, strict=True):
        inside = torch.tensor([name in member.participants for name in names])
        assert inside.sum() == 30
        assert own[inside].quantile(0.5) == pytest.approx(0, abs=1e-5)


def test_nothing_is_found_where_nothing_is_planted(project):
    found = train(project(effect=0.0)).metrics["metrics"]["c_index"]
    assert found["ci_low"] < 0.5 < found["ci_high"]


def test_heads_start_at_cox_ridge_and_mean_stays_there(project):
    """Head `mean` under Cox's loss is the baseline: the same risks up to the level."""
    frame = train(project(), "aggregate.head.kind=mean", "aggregate.folds.repeats=1").predictions
    risks = frame.set_index("participant_id").groupby("configuration")["risk"]
    ours, bar = (risks.get_group(name) for name in ("mean", "mean_pool_cox"))
    np.testing.assert_allclose(ours, bar[ours.index], atol=1e-5)


def test_embedding_heads_train_too(project):
    results = train(
        project(), "aggregate.head={kind: attention, embedding: [8]}", "aggregate.train.epochs=40"
    )
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
def test_refused_in_one_sentence(project, columns, overrides, sentence):
    file = project(**columns)
    with pytest.raises(SlicecacheError, match=sentence) as refused:
        train(file, *(f"aggregate.{one}" for one in overrides))
    assert "\n" not in str(refused.value)


def test_who_was_not_observed_is_left_out_and_values_have_names(project):
    table = follow_up(2.0)
    months = table["months"].astype(object)
    months[[0, 1]] = [0, "n/a"]
    status = table["converted"].map({0: "stable", 1: "MCI to AD"})
    status[2] = ""
    file = project(months=months, converted=status)
    event = "aggregate.target.event={column: converted, values: [MCI to AD]}"
    results = train(file, event, "aggregate.train.epochs=2", "aggregate.folds.repeats=1")
    reasons = {row["participant_id"]: row["reason"] for row in results.left_out}
    assert reasons == {
        "sub-00": "no time under observation (0)",
        "sub-01": "target missing (n/a)",
        "sub-02": "event missing",
    }
    with pytest.raises(
        SlicecacheError, match=r"target\.event\.values: dead does not occur in column 'converted'"
    ):
        train(file, "aggregate.target.event={column: converted, values: [dead]}")


def test_times_read_as_people_write_them():
    values = np.array([[12.5], [-30.0]])
    assert Survival().shown(values) == ["12.5", "30+"]
    y, names = Survival().stratify(values, np.array([0, 1]))
    assert (y.tolist(), names) == ([1, 0], ("none, 30 to 30", "event, 12.5 to 12.5"))
    told = Survival.spread_words(Survival().spread(values))
    assert told == "1 with the event; followed up for 30 (median), at most 30"
