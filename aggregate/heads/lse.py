"""Log-sum-exp of each number over kept slices: `z = (1/r) log mean exp(r h)`, a soft maximum.

Pinheiro and Collobert 2015 (arXiv 1411.6228): the mean as r goes to 0, the maximum as it grows. r counts in
units of the tokens that the head reads, so of centred and scaled ones unless `centre: false`. Attention
is what a slice moves: the mean over a token's numbers of `dz/dh_i = softmax(r h)`.
"""

from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor

from aggregate.heads.base import Head, HeadBase, Parameters
from aggregate.heads.centring import SCALE
from aggregate.heads.embedding import Shapes


class LseSpec(HeadBase):
    """A soft maximum of each number over kept slices."""

    learned_pool: ClassVar[bool] = False
    words: ClassVar[str] = "log-sum-exp pooling"
    kind: Literal["lse"] = "lse"
    r: float = Field(default=5.0, gt=0, le=1e3)
    """Sharpness: near 0 it is the mean, and the larger the nearer to the maximum."""

    def build(self, dim: int, n_classes: int) -> "LseHead":
        """Make the head for tokens of this dimension."""
        return LseHead(self, dim, n_classes)


class LseHead(Head):
    """`z_d = (1/r) log mean exp(r h_id)`; nothing to learn before the embedding."""

    def __init__(self, spec: LseSpec, dim: int, n_classes: int) -> None:
        """Fix the shapes."""
        super().__init__(spec, dim, n_classes)
        self.r = spec.r

    @property
    def pool_differs(self) -> bool:
        """A run's scale stretches r: with `h' = (h - m) s`, `lse_r(h') = s (lse_rs(h) - m)`."""
        return self.spec.centre

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
        """Soft maxima of raw tokens and what each slice moves of them, once for each scale."""
        scale = parameters[SCALE] if SCALE in parameters else x.new_ones(1)
        distinct, place = scale.unique(return_inverse=True)
        found = [soft_maximum(x, keep, self.r * float(one)) for one in distinct]
        pooled, attention = (torch.stack(part) for part in zip(*found, strict=True))
        return pooled[place], attention[place]


def soft_maximum(
    x: Float[Tensor, "bag slice dim"], keep: Bool[Tensor, "bag slice"], r: float
) -> tuple[Float[Tensor, "bag dim"], Float[Tensor, "bag slice"]]:
    """`(1/r) log mean exp(r h)` over kept slices, and the mean over numbers of its derivative."""
    steep = (r * x).masked_fill(~keep.unsqueeze(-1), -torch.inf)
    total = steep.logsumexp(1, keepdim=True)
    pooled = (total.squeeze(1) - keep.sum(1, keepdim=True).to(x.dtype).log()) / r
    return pooled, (steep - total).exp().mean(2)
