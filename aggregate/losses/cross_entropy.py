"""Cross entropy of the logits, weighted by bag; on request by class, smoothed, or with adjusted logits.

Class weights and smoothing are those of `torch.nn.CrossEntropyLoss`. Logit adjustment (Menon et al. 2021,
arXiv 2007.07314, equation 10) trains `logits + tau log prior` with the priors of the run's training bags,
and predicts by the logits alone: what it learns is as if the classes were equally frequent.
"""

from collections.abc import Sequence
from typing import ClassVar, Self

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor

from aggregate.losses.base import ActsOn, Batch, Counts, StackedLoss, column, mean_by_weight
from aggregate.losses.class_weights import ClassWeightedSpec, EffectiveNumber, stacked_class_weights
from cache_schema.common.strict import later

LEAST_COUNT = 0.5
"""Training bags that a label without any has in its prior, so that its logarithm is a number."""


class CrossEntropySpec(ClassWeightedSpec):
    """Cross entropy of the logits."""

    acts_on: ClassVar[ActsOn] = "logits"
    weight: float = Field(default=1.0, ge=0)
    label_smoothing: float = later(0.0, ge=0, lt=1)
    """Share of the target that goes to all classes alike."""
    logit_adjustment: float = later(0.0, ge=0)
    """Tau: how many times the log prior is added to the logits in training."""

    @classmethod
    def examples(cls) -> tuple[Self, ...]:
        """Plain, and with each option."""
        return (
            cls(),
            cls(class_weights="balanced", label_smoothing=0.1),
            cls(class_weights=EffectiveNumber(beta=0.9), logit_adjustment=1.5),
            cls(class_weights=(0.5, 2.0, 1.0)),
        )

    @property
    def plain(self) -> bool:
        """Whether no option is used."""
        return self.class_weights == "none" and not self.label_smoothing and not self.logit_adjustment

    @classmethod
    def stacked(cls, specs: Sequence[Self], counts: Counts) -> StackedLoss:
        """Each run by its own options; without any, what options would add is left out."""
        if all(spec.plain for spec in specs):
            return lambda batch: cross_entropy(batch.logits, batch.y, batch.keep, batch.weight)
        by_class = stacked_class_weights(specs, counts)
        smoothing = column([spec.label_smoothing for spec in specs], counts)
        tau = column([spec.logit_adjustment for spec in specs], counts)
        shift = tau.unsqueeze(1) * log_prior(counts)

        def values(batch: Batch) -> Float[Tensor, " run"]:
            n, dtype = len(batch), batch.logits.dtype
            logits = batch.logits + shift[:n].to(dtype).unsqueeze(1)
            options = (by_class[:n].to(dtype), smoothing[:n].to(dtype))
            return smoothed_cross_entropy(logits, batch.y, batch.keep * batch.weight, *options)

        return values


def log_prior(counts: Counts) -> Float[Tensor, "run class"]:
    """Logarithm of each label's share of a run's training bags."""
    floored = counts.double().clamp_min(LEAST_COUNT)
    return (floored / floored.sum(1, keepdim=True)).log()


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
    return mean_by_weight(-torch.log_softmax(logits, -1).gather(2, index).squeeze(2), weighted)


def smoothed_cross_entropy(
    logits: Float[Tensor, "run bag class"],
    y: Int[Tensor, "run bag"],
    weight: Float[Tensor, "run bag"],
    class_weight: Float[Tensor, "run class"],
    smoothing: Float[Tensor, " run"],
) -> Float[Tensor, " run"]:
    """`sum_i b_i l_i / sum_i b_i w_{y_i}` with bag weights b (0 at pads) and class weights w.

    `l_i = (1 - eps) w_{y_i} s_{i, y_i} + (eps / C) sum_c w_c s_ic`, where `s = -log softmax(logits)`.
    """
    surprise = -torch.log_softmax(logits, -1)
    own = class_weight.gather(1, y)
    hit = own * surprise.gather(2, y.unsqueeze(2)).squeeze(2)
    spread = (surprise * class_weight.unsqueeze(1)).mean(-1)
    loss = torch.lerp(hit, spread, smoothing.unsqueeze(1))
    tiny = torch.finfo(logits.dtype).tiny
    return (loss * weight).sum(1) / (own * weight).sum(1).clamp_min(tiny)
