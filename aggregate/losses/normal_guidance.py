"""Normal Guidance: attention is pulled to a bell over the slices' heights (arXiv 2605.27306).

The bell is the normal density with the attention's own mean and variance in millimetres, at the heights of
the kept slices and summing to 1 over them; the term is `KL(attention | bell)`, and the gradient goes through
the bell's moments as well. The paper's code was not available to us: its direction of the divergence and
whether it stops that gradient are our reading. Several attentions of one head (queries, transformer heads)
are guided by their mean.
"""

from collections.abc import Sequence
from typing import ClassVar, Self

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor

from aggregate.losses.base import (
    ActsOn,
    Batch,
    Counts,
    StackedLoss,
    TargetKind,
    TermSpec,
    attention_of,
    column,
)


class NormalGuidanceSpec(TermSpec):
    """Distance of the attention from a bell over the heights of the slices."""

    acts_on: ClassVar[ActsOn] = "attention"
    for_target: ClassVar[TargetKind | None] = None
    min_sd_mm: float = Field(default=1.0, gt=0)
    """The narrowest bell: attention on one slice alone has no width."""

    @classmethod
    def examples(cls) -> tuple[Self, ...]:
        """A bell as wide as it comes, and one that is widened."""
        return (cls(weight=1.0), cls(weight=1.0, min_sd_mm=30.0))

    @classmethod
    def stacked(cls, specs: Sequence[Self], counts: Counts) -> StackedLoss:
        """Each run by its own narrowest bell."""
        narrowest = column([spec.min_sd_mm for spec in specs], counts)

        def values(batch: Batch) -> Float[Tensor, " run"]:
            given = attention_of(batch)
            own = narrowest[: len(batch)].to(given.weights.dtype).view(-1, 1, 1)
            loss = normal_guidance(given.weights, given.keep, given.height_mm, own)
            return (loss * batch.keep).sum(-1) / batch.keep.sum(-1).clamp_min(1)

        return values


def normal_guidance(
    attention: Float[Tensor, "run bag slice"],
    keep: Bool[Tensor, "run bag slice"],
    height_mm: Float[Tensor, "run bag slice"],
    min_sd_mm: Float[Tensor, "run 1 1"],
) -> Float[Tensor, "run bag"]:
    """`sum_i a_i log (a_i / q_i)` over kept slices, q normal with the mean and variance of a."""
    kept = attention.masked_fill(~keep, 0)
    height = height_mm.to(kept.dtype)
    mean = (kept * height).sum(-1, keepdim=True)
    squares = (height - mean).square()
    variance = (kept * squares).sum(-1, keepdim=True).maximum(min_sd_mm.square())
    exponent = -squares / (2 * variance)
    log_bell = exponent - exponent.masked_fill(~keep, -torch.inf).logsumexp(-1, keepdim=True)
    log_attention = kept.clamp_min(torch.finfo(kept.dtype).tiny).log()
    return (kept * (log_attention - log_bell)).sum(-1)
