"""The mean of each number's k highest values over kept slices: between the maximum and the mean.

WELDON's k-max pooling (Durand et al. 2016, CVPR, "WELDON: Weakly supervised learning of deep convolutional
neural networks"), on a token's numbers in place of class maps and without its k lowest. It has nothing to
learn: each number picks slices of its own, and no score has to be trained first. Attention is the share
of the pooled numbers' weight that a slice has; slices that are level share what is left to give.
"""

from typing import ClassVar, Literal, Self

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field, PositiveInt
from torch import Tensor

from aggregate.heads.base import Head, HeadBase, Parameters
from aggregate.heads.embedding import Shapes


class TopkSpec(HeadBase):
    """Each number's mean over the slices where it is highest."""

    learned_pool: ClassVar[bool] = False
    words: ClassVar[str] = "top-k pooling"
    kind: Literal["topk"] = "topk"
    share: float = Field(default=0.2, gt=0, le=1)
    """Share of a bag's slices, rounded up."""
    k: PositiveInt | None = None
    """So many slices in place of a share, or all where a bag has fewer, e.g. `5`."""

    @classmethod
    def examples(cls) -> tuple[Self, ...]:
        """By share and by number."""
        return (*super().examples(), cls(share=0.5), cls(k=2))

    def build(self, dim: int, n_classes: int) -> "TopkHead":
        """Make the head for tokens of this dimension."""
        return TopkHead(self, dim, n_classes)


class TopkHead(Head):
    """`z_d = mean of the k highest h_id`."""

    def __init__(self, spec: TopkSpec, dim: int, n_classes: int) -> None:
        """Fix the shapes."""
        super().__init__(spec, dim, n_classes)
        self.share, self.k = spec.share, spec.k

    def pool_shapes(self) -> Shapes:
        """The pool has no parameter."""
        return {}

    def pool(
        self,
        parameters: Parameters,
        x: Float[Tensor, "bag slice dim"],
        keep: Bool[Tensor, "bag slice"],
        height_mm: Float[Tensor, "bag slice"],
    ) -> tuple[Float[Tensor, "#run bag dim"], Float[Tensor, "#run bag slice"]]:
        """Means of the highest values and the slices' shares in them, once for all runs."""
        n = keep.sum(1)
        # Shares such as 0.2 are not exact in binary: 0.2 * 35 is above 7 and would be rounded up to 8.
        k = (n * self.share - 1e-9).ceil().long() if self.k is None else n.clamp_max(self.k)
        pooled, attention = top_mean(x, keep, k)
        return pooled.unsqueeze(0), attention.unsqueeze(0)


def top_mean(
    x: Float[Tensor, "bag slice dim"], keep: Bool[Tensor, "bag slice"], k: Int[Tensor, " bag"]
) -> tuple[Float[Tensor, "bag dim"], Float[Tensor, "bag slice"]]:
    """The mean of each number's k highest values over kept slices, and each slice's weight in them."""
    k = k.view(-1, 1, 1)
    seen = x.masked_fill(~keep.unsqueeze(-1), -torch.inf)
    limit = seen.sort(1, descending=True).values.gather(1, (k - 1).expand(-1, 1, x.shape[2]))
    above, level = seen > limit, seen == limit
    left = (k - above.sum(1, keepdim=True)).to(x.dtype) / level.sum(1, keepdim=True)
    weight = torch.where(above, 1, torch.where(level, left, 0)) / k
    return (weight * x).sum(1), weight.mean(2)
