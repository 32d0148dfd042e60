"""Every head: runs trained together equal each trained alone, and only what is trainable moves."""

from typing import get_args

import numpy as np
import pytest
import torch

from aggregate.bags.bags import Bags
from aggregate.heads.attention import AttentionSpec
from aggregate.heads.centre_gaussian import CentreGaussianSpec
from aggregate.heads.gated_attention import GatedAttentionSpec
from aggregate.heads.linear_attention import LinearAttentionSpec
from aggregate.heads.mean import MeanSpec
from aggregate.heads.mst import MstSpec
from aggregate.heads.query import QuerySpec
from aggregate.heads.random_attention import RandomAttentionSpec
from aggregate.heads.registry import HeadSpec
from aggregate.losses.registry import LossSpec
from aggregate.training.sampler import init_seed
from aggregate.training.spec import TrainSpec
from aggregate.training.stacked import RunSpec, train_stacked

BAGS, SLICES, DIM = 41, 5, 12
HEADS = [
    MeanSpec(embedding=(6,)),
    AttentionSpec(hidden=7, embedding=(6,)),
    LinearAttentionSpec(),
    GatedAttentionSpec(hidden=5, embedding=(6,)),
    GatedAttentionSpec(hidden=5, centre=False),
    QuerySpec(queries=2),
    *(MstSpec(heads=2, positions=name) for name in ("none", "learned", "sinusoidal", "rotary")),
    CentreGaussianSpec(embedding=(6,)),
    RandomAttentionSpec(hidden=7, embedding=(6,)),
]


@pytest.fixture(scope="module")
def cohort() -> tuple[Bags, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(4)
    y = torch.arange(BAGS) % 2
    keep = torch.arange(SLICES) < torch.randint(1, SLICES + 1, (BAGS, 1), generator=generator)
    x = torch.randn(BAGS, SLICES, DIM, dtype=torch.float64, generator=generator)
    x[..., 0] += 0.8 * y.unsqueeze(1)
    height_mm = (2 + 13 * torch.arange(SLICES) + torch.arange(BAGS).unsqueeze(1)) * keep.double()
    return Bags(x * keep.unsqueeze(-1), keep, height_mm), y, torch.ones(BAGS, dtype=torch.float64)


def run(head, fold, n_train, patience=None, rate=2e-3, name="c", weight=1.0) -> RunSpec:
    order = np.random.default_rng(fold).permutation(BAGS)
    train = TrainSpec(epochs=6, batch_size=8, learning_rate=rate, patience=patience)
    loss = LossSpec(cross_entropy=weight)
    return RunSpec(name, 0, fold, 0, head, loss, train, order[:n_train], order[n_train:])


@pytest.mark.parametrize("head", HEADS, ids=lambda head: f"{head.kind}-{getattr(head, 'positions', '')}")
def test_stacked_equals_alone(cohort, head):
    """Two runs of one order, one with a smaller fold, and one that may stop first."""
    runs = [
        run(head, 0, 31),
        run(head, 0, 31, name="d", weight=0.5),
        run(head, 1, 20),
        run(head, 2, 23, patience=1, rate=0.03),
    ]
    together = train_stacked(*cohort, 2, runs, torch.float64)
    for spec, ours in zip(runs, together, strict=True):
        (alone,) = train_stacked(*cohort, 2, [spec], torch.float64)
        assert (ours.epochs, ours.best_epoch) == (alone.epochs, alone.best_epoch)
        for name, value in ours.state.items():
            torch.testing.assert_close(value, alone.state[name], rtol=0, atol=1e-10, msg=name)


@pytest.mark.parametrize("head", HEADS, ids=lambda head: f"{head.kind}-{getattr(head, 'positions', '')}")
def test_only_what_is_trainable_moves(cohort, head):
    built = head.build(DIM, 2)
    start = built.init([init_seed(0, 0, 0)], torch.float64)
    (trained,) = train_stacked(*cohort, 2, [run(head, 0, 31)], torch.float64)
    for name in built.shapes.keys() - {"input.mean", "input.scale"}:
        moved = not torch.equal(trained.state[name], start[name][0])
        assert moved == (name in built.trainable), name


def test_no_head_is_forgotten():
    assert {type(head) for head in HEADS} == set(get_args(get_args(HeadSpec)[0]))
