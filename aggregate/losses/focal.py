"""Focal loss: cross entropy in which bags that are right already count less.

Lin et al. 2017 (arXiv 1708.02002), of several classes.
"""

from collections.abc import Sequence
from typing import ClassVar, Self

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor

from aggregate.losses.base import ActsOn, Batch, Counts, StackedLoss, column
from aggregate.losses.class_weights import ClassWeightedSpec, stacked_class_weights


class FocalSpec(ClassWeightedSpec):
    """Focal loss of the logits; class weights are its alpha."""

    acts_on: ClassVar[ActsOn] = "logits"
    gamma: float = Field(default=2.0, ge=0)
    """At 0 it is the cross entropy."""

    @classmethod
    def examples(cls) -> tuple[Self, ...]:
        """As published, a slope that is steep near 1, and cross entropy."""
        return (
            cls(weight=1.0),
            cls(weight=1.0, gamma=0.5, class_weights="balanced"),
            cls(weight=1.0, gamma=0.0),
        )

    @classmethod
    def stacked(cls, specs: Sequence[Self], counts: Counts) -> StackedLoss:
        """Each run by its own gamma and class weights."""
        gamma = column([spec.gamma for spec in specs], counts)
        by_class = stacked_class_weights(specs, counts)

        def values(batch: Batch) -> Float[Tensor, " run"]:
            n, dtype = len(batch), batch.logits.dtype
            options = (by_class[:n].to(dtype), gamma[:n].to(dtype))
            return focal(batch.logits, batch.y, batch.keep * batch.weight, *options)

        return values


def focal(
    logits: Float[Tensor, "run bag class"],
    y: Int[Tensor, "run bag"],
    weight: Float[Tensor, "run bag"],
    class_weight: Float[Tensor, "run class"],
    gamma: Float[Tensor, " run"],
) -> Float[Tensor, " run"]:
    """`sum_i b_i w_{y_i} (1 - p_i)^gamma (-log p_i) / sum_i b_i w_{y_i}`, p_i the probability of y_i.

    Bag weights b are 0 at pads. The paper divides by the number of anchors that hold an object; this is
    divided by the weights, so that gamma 0 is the weighted cross entropy.
    """
    log_p = torch.log_softmax(logits, -1).gather(2, y.unsqueeze(2)).squeeze(2)
    tiny = torch.finfo(logits.dtype).tiny
    # Not 1 - exp: near certainty nothing would be left of it, and its power has no slope at 0.
    missed = (-torch.expm1(log_p)).clamp_min(tiny)
    weighted = weight * class_weight.gather(1, y)
    loss = -(missed ** gamma.unsqueeze(1)) * log_p
    return (loss * weighted).sum(1) / weighted.sum(1).clamp_min(tiny)
