"""Attention entropy: how evenly a head looks at the slices of a bag.

`H = -sum_i a_i log a_i` over the log of the number of kept slices, so that it is 1 for even attention and 0
for one slice, however many slices a bag has. `toward: uniform` minimises `1 - H`, against attention that
concentrates early (AEM: Zhang et al. 2024, arXiv 2406.15303, who let its weight fall by a cosine:
`schedule: {kind: cosine, begin: 1, end: 0, ...}`); `toward: peak` minimises `H`.
"""

from collections.abc import Sequence
from typing import ClassVar, Literal, Self

import torch
from jaxtyping import Bool, Float
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


class AttentionEntropySpec(TermSpec):
    """Evenness of the attention over a bag's slices."""

    acts_on: ClassVar[ActsOn] = "attention"
    for_target: ClassVar[TargetKind | None] = None
    toward: Literal["uniform", "peak"] = "uniform"
    """What is rewarded: attention that is spread evenly, or that has a peak."""

    @classmethod
    def examples(cls) -> tuple[Self, ...]:
        """Both directions."""
        return (cls(weight=1.0), cls(weight=1.0, toward="peak"))

    @classmethod
    def stacked(cls, specs: Sequence[Self], counts: Counts) -> StackedLoss:
        """The directions differ by sign and a constant."""
        even = column([float(spec.toward == "uniform") for spec in specs], counts)

        def values(batch: Batch) -> Float[Tensor, " run"]:
            attention = attention_of(batch)
            found = evenness(attention.weights, attention.keep)
            own = even[: len(batch)].to(found.dtype).unsqueeze(1)
            several = attention.keep.sum(-1) > 1  # one slice is even and a peak
            loss = torch.where(several, own + (1 - 2 * own) * found, 0)
            return (loss * batch.keep).sum(-1) / batch.keep.sum(-1).clamp_min(1)

        return values


def evenness(
    attention: Float[Tensor, "run bag slice"], keep: Bool[Tensor, "run bag slice"]
) -> Float[Tensor, "run bag"]:
    """Entropy of each bag's attention over its greatest value; 0 for bags of one slice."""
    kept = attention.masked_fill(~keep, 0)
    entropy = -(kept * kept.clamp_min(torch.finfo(kept.dtype).tiny).log()).sum(-1)
    return entropy / keep.sum(-1).clamp_min(2).to(kept.dtype).log()
