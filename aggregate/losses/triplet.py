"""Triplet loss, batch hard: the furthest of the same label nearer than the nearest of another.

Hermans, Beyer and Leibe 2017 (arXiv 1703.07737), equation 5, with Euclidean distances of the embeddings as
they are, and `softplus` in place of the hinge where `margin: soft`.
"""

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal, Self

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor

from aggregate.losses.base import Batch, Counts, StackedLoss, TermSpec, column

Margin = Literal["soft"] | Annotated[float, Field(ge=0)]


class TripletSpec(TermSpec):
    """Batch-hard triplet loss of the embeddings (Hermans et al. 2017)."""

    balances: ClassVar[bool] = True
    margin: Margin = "soft"
    """`soft` is `log(1 + exp(d))` of the difference d, which the paper prefers; a number is a hinge's."""

    @classmethod
    def examples(cls) -> tuple[Self, ...]:
        """Both forms; a margin that no triplet reaches, and one that some do."""
        return (cls(weight=1.0), cls(weight=1.0, margin=5.0), cls(weight=1.0, margin=0.1))

    @classmethod
    def stacked(cls, specs: Sequence[Self], counts: Counts) -> StackedLoss:
        """Each run by its own margin."""
        soft = torch.tensor([spec.margin == "soft" for spec in specs], device=counts.device)
        margin = column([0.0 if spec.margin == "soft" else float(spec.margin) for spec in specs], counts)

        def values(batch: Batch) -> Float[Tensor, " run"]:
            n = len(batch)
            gap, counted = hardest(batch.embedding, batch.y, batch.keep)
            hinge = (gap + margin[:n].to(gap.dtype).unsqueeze(1)).relu()
            loss = torch.where(soft[:n].unsqueeze(1), torch.nn.functional.softplus(gap), hinge)
            return (loss * counted).sum(-1) / counted.sum(-1).clamp_min(1)

        return values


def hardest(
    embedding: Float[Tensor, "run bag feature"],
    y: Int[Tensor, "run bag"],
    keep: Bool[Tensor, "run bag"],
) -> tuple[Float[Tensor, "run bag"], Bool[Tensor, "run bag"]]:
    """Distance to the furthest of the same label minus that to the nearest of another, for every anchor.

    Returns:
        The difference, 0 where there is none; and whether there is one: the anchor is kept and has both.
    """
    # Not by products, whose rounding leaves nothing of small distances; equal bags have a gradient of 0.
    distance = torch.cdist(embedding, embedding, compute_mode="donot_use_mm_for_euclid_dist")
    both = keep.unsqueeze(1) & keep.unsqueeze(2)
    same = y.unsqueeze(1) == y.unsqueeze(2)
    positive = both & same & ~torch.eye(y.shape[1], dtype=torch.bool, device=y.device)
    negative = both & ~same
    furthest = distance.masked_fill(~positive, 0).amax(-1)
    nearest = distance.masked_fill(~negative, torch.inf).amin(-1)
    counted = positive.any(-1) & negative.any(-1)
    return torch.where(counted, furthest - nearest.masked_fill(~counted, 0), 0), counted
