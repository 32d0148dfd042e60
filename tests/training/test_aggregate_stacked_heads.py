"""Every head: only what is trainable moves."""

import numpy as np
import pytest
import torch

from aggregate.bags.bags import Bags
from aggregate.heads.registry import HEADS
from aggregate.losses.registry import LossSpec
from aggregate.training.feeding.sampler import init_seed
from aggregate.training.spec import TrainSpec
from aggregate.training.stacked import RunSpec, train_stacked

pytestmark = pytest.mark.numerics

BAGS, SLICES, DIM = 41, 5, 12
EXAMPLES = [spec for kind in HEADS for spec in kind.examples()]


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


@pytest.mark.parametrize("head", EXAMPLES, ids=lambda spec: spec.model_dump_json(exclude_defaults=True))
def test_only_what_is_trainable_moves(cohort, head):
    built = head.build(DIM, 2)
    start = built.init([init_seed(0, 0, 0)], torch.float64)
    (trained,) = train_stacked(*cohort, 2, [run(head, 0, 31)], torch.float64)
    for name in built.shapes.keys() - {"input.mean", "input.scale"}:
        moved = not torch.equal(trained.state[name], start[name][0])
        assert moved == (name in built.trainable), name
