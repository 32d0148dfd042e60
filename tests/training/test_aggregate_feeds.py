"""Runs of several folds that pool the union of their bags: each leaves what it leaves alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter

from aggregate.bags.bags import Bags
from aggregate.heads.registry import HEADS, HeadSpec
from aggregate.losses.registry import LossSpec
from aggregate.training.feeding.feeds import UNION, feeds_of
from aggregate.training.runs import RunSpec
from aggregate.training.spec import TrainSpec
from aggregate.training.stacked import train_stacked

pytestmark = pytest.mark.numerics

BAGS, SLICES, DIM = 23, 6, 8
OPTIONS = {"mst": {"heads": 2}, "transmil_1d": {"heads": 2}, "dsmil": {"query": 5}, "topk": {"k": 2}}
KINDS = [kind for kind in (own.model_fields["kind"].default for own in HEADS) if kind != "custom"]
TERMS = [LossSpec(), LossSpec(supcon=0.5, class_variance=0.5)]


@pytest.fixture(scope="module")
def cohort():
    generator = torch.Generator().manual_seed(2)
    y = torch.arange(BAGS) % 2
    keep = torch.arange(SLICES) < torch.randint(2, SLICES + 1, (BAGS, 1), generator=generator)
    x = torch.randn(BAGS, SLICES, DIM, dtype=torch.float64, generator=generator)
    x[..., 0] += y.unsqueeze(1)
    height = torch.arange(SLICES, dtype=torch.float64).expand(BAGS, -1) * keep
    weight = 0.5 + torch.rand(BAGS, dtype=torch.float64, generator=generator)
    return Bags(x * keep.unsqueeze(-1), keep, height), y, weight


def runs_of(kind, loss=TERMS[0], folds=4, n_train=None, **train):
    head = TypeAdapter(HeadSpec).validate_python({"kind": kind, **OPTIONS.get(kind, {})})
    hands = np.random.default_rng(5).permutation(BAGS) % folds
    spec = TrainSpec(**{"epochs": 6, "learning_rate": 0.005, "patience": None, **train})
    rows = [np.flatnonzero(hands != fold)[:n_train] for fold in range(folds)]
    out = [np.flatnonzero(hands == fold) for fold in range(folds)]
    return [
        RunSpec("c", 0, fold, 0, head, loss, spec, own, other)
        for fold, (own, other) in enumerate(zip(rows, out, strict=True))
    ]


def same(cohort, runs):
    bags, y, weight = cohort
    together = train_stacked(bags, y, weight, 2, runs, dtype=torch.float64)
    for run, own in zip(runs, together, strict=True):
        (alone,) = train_stacked(bags, y, weight, 2, [run], dtype=torch.float64)
        assert own.epochs == alone.epochs
        assert own.history.keys() == alone.history.keys()
        for name, values in alone.history.items():
            np.testing.assert_allclose(own.history[name], values, rtol=0, atol=1e-9)
        for name, value in alone.state.items():
            torch.testing.assert_close(own.state[name], value, rtol=0, atol=1e-9, msg=name)


@pytest.mark.parametrize("kind", KINDS)
def test_each_leaves_what_it_leaves_alone(cohort, kind):
    runs = runs_of(kind, batch_size=BAGS)
    assert len(feeds_of(runs)) == 1
    same(cohort, runs)


@pytest.mark.parametrize("start", ["baseline", "plain"])
def test_losses_that_compare_bags_and_runs_that_stop(cohort, start):
    runs = runs_of("attention", TERMS[1], batch_size=BAGS, start=start)
    same(cohort, [*runs, *runs_of("attention", batch_size=BAGS, start=start, patience=2, epochs=9)])


def test_terms_on_attention(cohort):
    loss = LossSpec(attention_entropy=0.3)
    same(cohort, runs_of("gated_attention", loss, batch_size=BAGS))


def test_a_feed_has_every_bag_of_its_runs_and_no_other():
    runs = runs_of("attention", batch_size=BAGS)
    (feed,) = feeds_of(runs)
    (rows,) = feed.batches(np.arange(BAGS) % 2, 3).numpy()
    assert rows.shape == (4, BAGS)
    for own, run in zip(rows, runs, strict=True):
        assert sorted(own[own >= 0]) == sorted(run.train_rows)


def test_folds_that_have_little_in_common_stay_apart():
    apart = runs_of("attention", folds=2, batch_size=BAGS)
    assert [feed.n_runs for feed in feeds_of(apart)] == [1, 1]
    assert [feed.n_runs for feed in feeds_of([apart[0], replace(apart[0], configuration="d"), apart[1]])] == [
        2,
        1,
    ]
    assert UNION < 2


@pytest.mark.parametrize("changes", [{"batch_size": 7}, {"batch_size": BAGS, "class_balanced": True}])
def test_batches_that_are_drawn_stay_a_streams_own(cohort, changes):
    runs = runs_of("attention", **changes)
    assert [feed.n_runs for feed in feeds_of(runs)] == [1] * 4
    same(cohort, runs)


def test_custom_heads_keep_their_streams():
    assert len(feeds_of(runs_of("attention", batch_size=BAGS), join=False)) == 4
