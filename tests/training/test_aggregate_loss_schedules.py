"""Weights over the epochs, what a sum of losses reads and refuses, and how its terms train."""

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from pydantic import ValidationError

from aggregate.ablate.grid.expand import expand
from aggregate.bags.bags import Bags
from aggregate.config.section import parse_section
from aggregate.heads.attention import AttentionSpec
from aggregate.losses.registry import LOSSES, LossSpec, require_target
from aggregate.training.spec import TrainSpec
from aggregate.training.stacked import RunSpec, TrainedRun, train_stacked
from aggregate.training.steps.objective import class_counts
from cache_schema.common.errors import ConfigError, SlicecacheError

pytestmark = pytest.mark.numerics


def factors(schedule: dict[str, Any], epochs: int = 7) -> list[float]:
    spec = LossSpec.model_validate({"supcon": {"weight": 2.0, "schedule": schedule}})
    return [spec.supcon.weight_at(epoch) / 2 for epoch in range(epochs)]


def test_factors_by_epoch():
    assert factors({"kind": "constant"}) == [1] * 7
    assert factors({"kind": "warmup", "epochs": 4}) == pytest.approx([0, 0.25, 0.5, 0.75, 1, 1, 1])
    down = factors({"kind": "linear", "begin": 1, "end": 0.2, "epochs": 4})
    assert down == pytest.approx([1, 0.8, 0.6, 0.4, 0.2, 0.2, 0.2])
    assert down[-1] == 0.2  # to the last digit
    half = 0.5 * (1 - math.cos(math.pi / 4))
    cosine = factors({"kind": "cosine", "begin": 0, "end": 3, "epochs": 4})
    assert cosine == pytest.approx([0, 3 * half, 1.5, 3 * (1 - half), 3, 3, 3])


@pytest.mark.parametrize(
    "given",
    [
        {"kind": "linear", "begin": 0, "epochs": 3},
        {"kind": "linear", "begin": 0, "end": 0, "epochs": 3},
        {"kind": "linear", "begin": -1, "end": 1, "epochs": 3},
        {"kind": "cosine", "begin": 0, "end": 1, "epochs": 0},
        {"kind": "warmup", "begin": 0, "epochs": 3},
        {"kind": "constant", "epochs": 3},
        {"kind": "step", "epochs": 3},
        {"epochs": 3},
        0.5,
    ],
)
def test_impossible_schedules_are_refused(given):
    with pytest.raises(ValidationError):
        LossSpec.model_validate({"supcon": {"weight": 1.0, "schedule": given}})


@pytest.mark.parametrize(
    "given",
    [
        {"cross_entropy": {"label_smoothing": 1.0}},
        {"cross_entropy": {"logit_adjustment": -1}},
        {"cross_entropy": {"class_weights": "even"}},
        {"cross_entropy": {"class_weights": [1.0]}},
        {"cross_entropy": {"class_weights": [1.0, 0.0]}},
        {"cross_entropy": {"class_weights": {"beta": 1.0}}},
        {"focal": {"gamma": -1}},
        {"focal": {"label_smoothing": 0.1}},
        {"center": {"alpha": 0}},
        {"triplet": {"margin": "hard"}},
        {"triplet": {"margin": -0.1}},
        {"huber": {"delta": 0}},
    ],
)
def test_impossible_options_are_refused(given):
    with pytest.raises(ValidationError):
        LossSpec.model_validate(given)


def test_a_term_with_options_and_no_weight_weighs_one():
    spec = LossSpec.model_validate({"focal": {"gamma": 1.0}, "supcon": {"temperature": 0.2}, "triplet": 0})
    assert list(spec.terms) == ["cross_entropy", "supcon", "focal"]
    assert (spec.focal.weight, spec.supcon.weight) == (1, 1)


def test_what_was_stored_before_there_were_more_terms_keeps_its_bytes():
    stored = (
        '{"cross_entropy":{"weight":1.0},"supcon":{"weight":0.5,"temperature":0.07},'
        '"class_variance":{"weight":0.0,"reduction":"mean"}}'
    )
    assert LossSpec(supcon=0.5).model_dump_json() == stored
    assert LossSpec.model_validate_json(stored) == LossSpec(supcon=0.5)


def test_specs_round_trip():
    spec = LossSpec.model_validate(
        {
            "cross_entropy": {"class_weights": {"beta": 0.9}, "label_smoothing": 0.1, "logit_adjustment": 1},
            "focal": {"class_weights": [1, 2], "schedule": {"kind": "warmup", "epochs": 3}},
            "center": {"weight": 0.1, "schedule": {"kind": "linear", "begin": 1, "end": 0, "epochs": 5}},
            "triplet": {"margin": 0.2},
        }
    )
    assert LossSpec.model_validate_json(spec.model_dump_json()) == spec
    assert LossSpec.model_validate({"cross_entropy": {"class_weights": None}}) == LossSpec()


@pytest.mark.parametrize(("name", "kind"), [("corn", "ordinal"), ("huber", "regression")])
def test_a_term_for_another_target_is_refused(name, kind):
    with pytest.raises(ConfigError, match=rf"loss: {name} is for a target of kind {kind} .*of kind classes"):
        parse_section({"cohort": "c.tsv", "target": "y", "loss": {name: 1.0}})
    require_target(LossSpec.model_validate({"cross_entropy": 0, name: 1.0}), kind)


@pytest.mark.parametrize("name", ["center", "triplet"])
def test_a_term_on_embeddings_needs_something_to_train(name):
    with pytest.raises(ConfigError, match=f"{name} acts on the embedding"):
        parse_section({"cohort": "c.tsv", "target": "y", "head": {"kind": "mean"}, "loss": {name: 1.0}})


def test_the_options_of_terms_are_paths_of_a_grid():
    data = {
        "cohort": "t.tsv",
        "target": "dx",
        "loss": {"cross_entropy": 0, "focal": 1},
        "ablate": {
            "configurations": {
                "focal": {},
                "smoothed": {"loss": {"cross_entropy": {"label_smoothing": 0.1}}},
            },
            "grid": {
                "from": "focal",
                "loss.focal.gamma": [0, 1, 2],
                "loss.focal.class_weights": ["none", "balanced", {"beta": 0.99}],
            },
        },
    }
    study = expand(data)
    points = [c.section.loss.focal for c in study.configurations if c.name.startswith("focal ")]
    assert len(points) == 9
    assert {point.gamma for point in points} == {0, 1, 2}
    assert {point.weight for point in points} == {1}
    assert len({point.model_dump_json() for point in points}) == 9
    data["loss"] = {"supcon": {"schedule": {"kind": "warmup", "epochs": 5}}}
    data["ablate"] = {
        "configurations": {"a": {}},
        "grid": {
            "loss.supcon.schedule.epochs": [5, 10],
            "loss.cross_entropy.logit_adjustment": [0, 1],
            "loss.triplet.margin": ["soft", 0.2],
        },
    }
    losses = [c.section.loss for c in expand(data).configurations[1:]]
    assert {loss.supcon.weight_at(2) for loss in losses} == {0.4, 0.2}
    assert {loss.triplet.margin for loss in losses} == {"soft", 0.2}


BAGS, SLICES, DIM = 41, 4, 9
HEAD = AttentionSpec(hidden=5, embedding=(7,))


@pytest.fixture(scope="module")
def cohort() -> tuple[Bags, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(6)
    y = torch.tensor([0, 0, 0, 1] * 10 + [0])
    keep = torch.arange(SLICES) < torch.randint(1, SLICES + 1, (BAGS, 1), generator=generator)
    x = torch.randn(BAGS, SLICES, DIM, dtype=torch.float64, generator=generator)
    x[..., 0] += 0.9 * y.unsqueeze(1)
    weight = torch.where(torch.arange(BAGS) % 5 == 0, 0.5, 1.0).double()
    height_mm = 4.0 * torch.arange(SLICES).expand(BAGS, -1)
    return Bags(x * keep.unsqueeze(-1), keep, height_mm), y, weight


def run(loss: dict[str, Any], fold: int = 0, n_train: int = 28, **train: Any) -> RunSpec:
    order = np.random.default_rng(fold).permutation(BAGS)
    options = {"epochs": 6, "batch_size": 8, "learning_rate": 0.02, "patience": 2, **train}
    rows = (order[:n_train], order[n_train:])
    return RunSpec(str(loss), 0, fold, 0, HEAD, LossSpec.model_validate(loss), TrainSpec(**options), *rows)


MIXED = [
    run({}),
    run({"center": {"weight": 0.3, "alpha": 0.9}}),
    run({"center": 0.1, "cross_entropy": {"class_weights": "balanced"}}, fold=1, n_train=19),
    run({"cross_entropy": 0, "focal": {"class_weights": {"beta": 0.9}}}, learning_rate=0.2, patience=1),
    run({"cross_entropy": {"logit_adjustment": 1.0}, "triplet": {"margin": 0.5}}, fold=2),
    run({"triplet": {"weight": 1.0, "schedule": {"kind": "warmup", "epochs": 4}}}, fold=3, patience=1),
    run(
        {
            "cross_entropy": {"label_smoothing": 0.1, "class_weights": [1, 3]},
            "center": {"schedule": {"kind": "cosine", "begin": 1, "end": 0, "epochs": 3}},
        },
        fold=4,
        patience=None,
    ),
]


def train(runs: list[RunSpec], cohort: tuple[Bags, torch.Tensor, torch.Tensor]) -> list[TrainedRun]:
    return train_stacked(*cohort, 2, runs, torch.float64)


def assert_same(ours: TrainedRun, theirs: TrainedRun, atol: float = 1e-10) -> None:
    assert (ours.epochs, ours.best_epoch) == (theirs.epochs, theirs.best_epoch)
    for name, value in ours.state.items():
        torch.testing.assert_close(value, theirs.state[name], rtol=0, atol=atol, msg=name)


def test_runs_with_other_terms_train_together_as_alone(cohort):
    together = train(MIXED, cohort)
    for spec, ours in zip(MIXED, together, strict=True):
        assert_same(ours, train([spec], cohort)[0])
    # Something was taken out of the stack while others, with their centres, went on.
    ends = {ours.epochs for ours in together}
    assert len(ends) > 2
    assert together[1].epochs > min(ends)


def test_a_term_counts_from_the_epoch_on_that_its_schedule_says(cohort):
    ramp = {"kind": "linear", "begin": 0, "end": 1, "epochs": 2}
    late = {"triplet": {"weight": 2.0, "schedule": ramp}}
    options = {"patience": None, "class_balanced": True}
    for epochs, same in ((1, True), (2, False)):
        plain, warm = train([run(own, epochs=epochs, **options) for own in ({}, late)], cohort)
        moved = (plain.state["classifier.weight"] - warm.state["classifier.weight"]).abs().max()
        assert (float(moved) < 1e-12) == same


def test_weights_of_classes_are_those_of_the_runs_own_training_bags(cohort):
    _, y, weight = cohort
    balanced = run({"cross_entropy": {"class_weights": "balanced"}})
    rows = torch.from_numpy(balanced.train_rows)
    (counts,) = class_counts([balanced.train_rows], y, weight, 2).tolist()
    assert counts == [float(weight[rows][y[rows] == label].sum()) for label in (0, 1)]
    given = run({"cross_entropy": {"class_weights": [sum(counts) / 2 / n for n in counts]}})
    assert_same(*train([balanced, given], cohort), atol=1e-12)


def test_given_weights_must_be_one_for_each_class(cohort):
    with pytest.raises(ConfigError, match="class_weights has 3 numbers, but the target has 2 classes"):
        train([run({"cross_entropy": {"class_weights": [1, 2, 3]}})], cohort)


def test_the_page_on_losses_reads_as_it_stands():
    page = (Path(__file__).parents[2] / "docs" / "losses.md").read_text()
    (block,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    spec = LossSpec.model_validate(yaml.safe_load(block)["loss"])
    assert list(spec.terms) == ["cross_entropy", "supcon", "triplet"]
    listed = re.findall(r"^\| `(\w+)` \| ", page, re.MULTILINE)
    assert set(listed) == set(LOSSES)
    ways = re.findall(r"^\| `(\{kind: .*?\})` \|", page, re.MULTILINE)
    kinds = {factors(yaml.safe_load(way), 100)[-1] for way in ways}
    assert (len(ways), kinds) == (4, {0.0, 1.0})


def test_a_run_that_diverges_is_named(cohort):
    wild = run({}, epochs=3, learning_rate=1e300)
    with pytest.raises(SlicecacheError, match=r"fold 0, seed 0 diverged: .*train.learning_rate \(1e\+300\)"):
        train([run({}), wild], cohort)
