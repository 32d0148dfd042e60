"""The maximum of each number over kept slices.

Attention is the share of a token's numbers that a slice wins; slices that are level share a win.
"""

from typing import ClassVar, Literal

from jaxtyping import Bool, Float
from torch import Tensor

from aggregate.heads.base import Head, HeadBase, Parameters
from aggregate.heads.embedding import Shapes
from aggregate.heads.topk import top_mean


class MaxSpec(HeadBase):
    """The maximum of each number over kept slices."""

    learned_pool: ClassVar[bool] = False
    words: ClassVar[str] = "max pooling"
    kind: Literal["max"] = "max"

    def build(self, dim: int, n_classes: int) -> "MaxHead":
        """Make the head for tokens of this dimension."""
        return MaxHead(self, dim, n_classes)


class MaxHead(Head):
    """`z_d = max of kept h_id`; nothing to learn before the embedding."""

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
        """Maxima and the share of them that each slice has, once for all runs."""
        pooled, attention = top_mean(x, keep, keep.any(1).long())
        return pooled.unsqueeze(0), attention.unsqueeze(0)
