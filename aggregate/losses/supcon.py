"""Supervised contrastive loss: bags of one label together, all others apart (Khosla et al. 2020)."""

from collections.abc import Sequence
from typing import ClassVar, Self

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor

from aggregate.losses.base import Batch, Counts, StackedLoss, TermSpec, column

NEVER = -1e30
"""Stands for minus infinity where a whole row may be masked: finite, so that 0 times it is 0."""


class SupConSpec(TermSpec):
    """Supervised contrastive loss of the embeddings (Khosla et al. 2020)."""

    balances: ClassVar[bool] = True
    temperature: float = Field(default=0.07, gt=0)
    """Divides cosines; the smaller, the more the nearest count."""

    @classmethod
    def examples(cls) -> tuple[Self, ...]:
        """Two temperatures."""
        return (cls(weight=1.0), cls(weight=1.0, temperature=0.5))

    @classmethod
    def stacked(cls, specs: Sequence[Self], counts: Counts) -> StackedLoss:
        """Each run by its own temperature."""
        temperature = column([spec.temperature for spec in specs], counts)

        def values(batch: Batch) -> Float[Tensor, " run"]:
            own = temperature[: len(batch)].to(batch.embedding.dtype)
            return supcon(batch.embedding, batch.y, batch.keep, own)

        return values


def supcon(
    embedding: Float[Tensor, "run bag feature"],
    y: Int[Tensor, "#run bag"],
    keep: Bool[Tensor, "#run bag"],
    temperature: float | Float[Tensor, " run"] = 0.07,
) -> Float[Tensor, " run"]:
    """`-(1/B) sum_i (1/|P(i)|) sum_{p in P(i)} [s_ip - log sum_{k != i} exp(s_ik)]`.

    `s = u u^T / temperature` with unit embeddings u; i runs over the B kept bags, k over the others,
    and P(i) are those of i's label. Bags without one add 0 and stay in the 1/B mean.
    """
    unit = torch.nn.functional.normalize(embedding, dim=-1)
    scale = torch.as_tensor(temperature, dtype=unit.dtype, device=unit.device).reshape(-1, 1, 1)
    similarity = torch.bmm(unit, unit.transpose(1, 2)) / scale
    other = keep.unsqueeze(1) & ~torch.eye(unit.shape[1], dtype=torch.bool, device=unit.device)
    log_share = similarity - similarity.masked_fill(~other, NEVER).logsumexp(-1, keepdim=True)
    positive = (other & keep.unsqueeze(2) & (y.unsqueeze(1) == y.unsqueeze(2))).to(unit.dtype)
    per_anchor = (positive * log_share).sum(-1) / positive.sum(-1).clamp_min(1)
    return -per_anchor.sum(-1) / keep.sum(-1).clamp_min(1)
