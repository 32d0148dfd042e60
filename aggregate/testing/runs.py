"""The law of stacked runs: each gives what it would have given alone."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aggregate.bags.bags import Bags
from aggregate.heads.base import HeadBase
from aggregate.heads.custom import CustomHeadSpec
from aggregate.losses.registry import LossSpec
from aggregate.testing.law import hold_equal
from aggregate.training.feeding.pooling import without_fallback_warnings
from aggregate.training.spec import TrainSpec
from aggregate.training.stacked import RunSpec, train_stacked
from cache_schema.common.errors import ConfigError
from cache_schema.common.law import hold

STACKED = 1e-10
"""Between weights, in float64."""


def hold_runs(spec: HeadBase, dim: int) -> None:
    """Two runs of one order, one with a smaller fold and one that may stop first, together and alone."""
    plain, *others = _ways(spec)
    for head in (plain, *others):
        with without_fallback_warnings():
            try:
                _hold(_specs(head), _specs(plain), _cohort(dim))
            except ConfigError:
                if getattr(head, "stacking", "") != "vmap":
                    raise  # a module that vmap refuses goes one by one


def _hold(runs: Sequence[RunSpec], plain: Sequence[RunSpec], cohort: tuple[Bags, Tensor, Tensor]) -> None:
    """All of them beside each of them, which goes by a loop."""
    together = train_stacked(*cohort, 2, runs, torch.float64)
    for run, own, ours in zip(runs, plain, together, strict=True):
        (alone,) = train_stacked(*cohort, 2, [own], torch.float64)
        hold(ours.epochs == alone.epochs, "runs", f"{run.name} ends after another epoch beside others")
        for name, value in ours.state.items():
            differs = f"{name} of {run.name} differs when others train beside it"
            hold_equal("runs", value.double(), alone.state[name].double(), STACKED, differs)


def _ways(spec: HeadBase) -> list[HeadBase]:
    """The head, by vmap and by loop if it has the choice."""
    if not isinstance(spec, CustomHeadSpec):
        return [spec]
    return [spec.model_copy(update={"stacking": way}) for way in ("loop", "vmap")]


def _cohort(dim: int) -> tuple[Bags, Tensor, Tensor]:
    """Some labelled bags."""
    generator = torch.Generator().manual_seed(4)
    n, slices = 23, 5
    y = torch.arange(n) % 2
    keep = torch.arange(slices) < torch.randint(1, slices + 1, (n, 1), generator=generator)
    x = torch.randn(n, slices, dim, dtype=torch.float64, generator=generator)
    x[..., 0] += 0.8 * y.unsqueeze(1)
    height_mm = (2 + 13 * torch.arange(slices) + torch.arange(n).unsqueeze(1)) * keep.double()
    return Bags(x * keep.unsqueeze(-1), keep, height_mm), y, torch.ones(n, dtype=torch.float64)


def _specs(head: HeadBase) -> Sequence[RunSpec]:
    """The runs of `hold_runs`."""

    def run(
        fold: int, n_train: int, rate: float = 2e-3, patience: int | None = None, weight: float = 1
    ) -> RunSpec:
        order = np.random.default_rng(fold).permutation(23)
        train = TrainSpec(epochs=4, batch_size=6, learning_rate=rate, weight_decay=0.0, patience=patience)
        parts = order[:n_train], order[n_train:]
        given: Any = head
        return RunSpec(
            "law", 0, fold, 0, given, LossSpec.model_validate({"cross_entropy": weight}), train, *parts
        )

    return [run(0, 17), run(0, 17, weight=0.5), run(1, 12), run(2, 15, rate=0.03, patience=1)]
