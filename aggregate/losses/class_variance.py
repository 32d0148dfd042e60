"""Class variance: how far unit embeddings scatter about the mean of their label (arXiv 2509.12512)."""

from collections.abc import Sequence
from typing import Literal, Self

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from aggregate.losses.base import Batch, Counts, StackedLoss, TermSpec, column


class ClassVarianceSpec(TermSpec):
    """Scatter of the unit embeddings about their class mean (DinoAtten3D)."""

    reduction: Literal["mean", "sum"] = "mean"
    """Over the embedding's dimensions; the mean is as published and, at most 1/dim, nearly inert."""

    @classmethod
    def examples(cls) -> tuple[Self, ...]:
        """Both reductions."""
        return (cls(weight=1.0), cls(weight=1.0, reduction="sum"))

    @classmethod
    def stacked(cls, specs: Sequence[Self], counts: Counts) -> StackedLoss:
        """The sum over dimensions is the mean times their number, so one pass serves both reductions."""
        summed = column([float(spec.reduction == "sum") for spec in specs], counts)

        def values(batch: Batch) -> Float[Tensor, " run"]:
            by = torch.where(summed[: len(batch)] > 0, float(batch.embedding.shape[-1]), 1.0)
            mean = class_variance(batch.embedding, batch.y, batch.keep, "mean")
            return by.to(mean.dtype) * mean

        return values


def class_variance(
    embedding: Float[Tensor, "run bag feature"],
    y: Int[Tensor, "#run bag"],
    keep: Bool[Tensor, "#run bag"],
    reduction: Literal["mean", "sum"] = "mean",
) -> Float[Tensor, " run"]:
    """`(1/C) sum_{c: n_c > 1} mean_{i in c} reduction_d (u_id - mean_c,d)^2` over kept bags.

    C counts every label of the batch, also those with one bag.
    """
    unit = torch.nn.functional.normalize(embedding, dim=-1)
    same = (y.unsqueeze(1) == y.unsqueeze(2)) & keep.unsqueeze(1) & keep.unsqueeze(2)
    count = same.sum(-1)
    share = same.to(unit.dtype) / count.clamp_min(1).unsqueeze(-1)
    centre = torch.matmul(share, unit)
    squares = (unit - centre).square()
    spread = squares.sum(-1) if reduction == "sum" else squares.mean(-1)
    # Each bag counts 1/n_c, so that the sum over bags is the sum over labels of the mean within.
    per_bag = keep / count.clamp_min(1).to(unit.dtype)
    return (spread * per_bag * (count > 1)).sum(-1) / per_bag.sum(-1).clamp_min(1)
