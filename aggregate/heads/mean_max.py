"""Mean and maximum over kept slices, side by side: what is there on the whole, and what is there at all.

Attention is the mean of the two: `1/n` for the mean, and the share of numbers that a slice wins.
"""

from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from aggregate.heads.base import Head, HeadBase, Parameters
from aggregate.heads.embedding import Shapes
from aggregate.heads.topk import top_mean


class MeanMaxSpec(HeadBase):
    """Mean and maximum over kept slices, side by side."""

    learned_pool: ClassVar[bool] = False
    words: ClassVar[str] = "mean and max pooling"
    kind: Literal["mean_max"] = "mean_max"

    def build(self, dim: int, n_classes: int) -> "MeanMaxHead":
        """Make the head for tokens of this dimension."""
        return MeanMaxHead(self, dim, n_classes)


class MeanMaxHead(Head):
    """The mean in front, the maximum behind it; nothing to learn before the embedding."""

    @property
    def pooled_dim(self) -> int:
        """Two tokens' numbers."""
        return 2 * self.dim

    def pool_shapes(self) -> Shapes:
        """The pool has no parameter."""
        return {}

    def pool(
        self,
        parameters: Parameters,
        x: Float[Tensor, "bag slice dim"],
        keep: Bool[Tensor, "bag slice"],
        height_mm: Float[Tensor, "bag slice"],
    ) -> tuple[Float[Tensor, "#run bag pooled"], Float[Tensor, "#run bag slice"]]:
        """Both vectors, and the mean of both attentions, once for all runs."""
        found = [top_mean(x, keep, k) for k in (keep.sum(1), keep.any(1).long())]
        pooled, attention = (torch.stack(part) for part in zip(*found, strict=True))
        return pooled.transpose(0, 1).flatten(1).unsqueeze(0), attention.mean(0, keepdim=True)
