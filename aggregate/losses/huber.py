"""Huber's loss of a number that the head predicts: square near 0, linear beyond delta (Huber 1964)."""

from collections.abc import Sequence
from typing import ClassVar, Self

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from aggregate.losses.base import (
    ActsOn,
    Batch,
    Counts,
    StackedLoss,
    TargetKind,
    TermSpec,
    column,
    mean_by_weight,
)


class HuberSpec(TermSpec):
    """Huber's loss of the first output of a regression head."""

    acts_on: ClassVar[ActsOn] = "logits"
    for_target: ClassVar[TargetKind] = "regression"
    learns_by_heart: ClassVar[bool] = True
    delta: float = Field(default=1.0, gt=0)
    """Where it turns linear, in units of the numbers as they are trained: their standard deviations."""

    @classmethod
    def examples(cls) -> tuple[Self, ...]:
        """Mostly linear, and mostly square."""
        return (cls(weight=1.0, delta=0.3), cls(weight=1.0, delta=2.0))

    @classmethod
    def stacked(cls, specs: Sequence[Self], counts: Counts) -> StackedLoss:
        """Each run by its own delta."""
        delta = column([spec.delta for spec in specs], counts)

        def values(batch: Batch) -> Float[Tensor, " run"]:
            error = batch.logits[..., 0] - batch.y
            own = delta[: len(batch)].to(error.dtype).unsqueeze(1)
            return mean_by_weight(huber(error, own), batch.keep * batch.weight)

        return values


def huber(error: Float[Tensor, "run bag"], delta: Float[Tensor, "run 1"]) -> Float[Tensor, "run bag"]:
    """`e^2 / 2` up to delta, `delta (|e| - delta / 2)` beyond."""
    size = error.abs()
    return torch.where(size <= delta, size.square() / 2, delta * (size - delta / 2))
