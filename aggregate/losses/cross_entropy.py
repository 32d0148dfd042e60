"""Cross entropy of the logits, weighted by bag."""

from collections.abc import Sequence
from typing import ClassVar, Literal, Self

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor

from aggregate.losses.base import StackedLoss, TermSpec


class CrossEntropySpec(TermSpec):
    """Cross entropy of the logits."""

    acts_on: ClassVar[Literal["logits", "embedding", "both"]] = "logits"
    weight: float = Field(default=1.0, ge=0)

    @classmethod
    def stacked(cls, specs: Sequence[Self]) -> StackedLoss:
        """It has no options."""
        return lambda batch: cross_entropy(batch.logits, batch.y, batch.keep, batch.weight)


def cross_entropy(
    logits: Float[Tensor, "run bag class"],
    y: Int[Tensor, "#run bag"],
    keep: Bool[Tensor, "#run bag"],
    weight: Float[Tensor, "#run bag"] | None = None,
) -> Float[Tensor, " run"]:
    """`sum_i w_i (-log softmax(logits_i)[y_i]) / sum_i w_i` over kept bags; without weights, their mean.

    A run without a kept bag gives 0.
    """
    weighted = keep.to(logits.dtype) if weight is None else keep * weight
    weighted = weighted.expand(len(logits), -1)
    index = y.expand(len(logits), -1).unsqueeze(2)
    loss = -torch.log_softmax(logits, -1).gather(2, index).squeeze(2)
    return (loss * weighted).sum(1) / weighted.sum(1).clamp_min(torch.finfo(logits.dtype).tiny)
