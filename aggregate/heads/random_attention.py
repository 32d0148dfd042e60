"""Attention as it was drawn, never trained: the control for DinoAtten3D as released.

The released code gives its optimiser the embedding alone, so that its attention stays random (arXiv
2509.12512). Here embedding and classifier are trained and only the attention is left as it is; with the
same seed it is the same attention as that of `kind: attention` before training.
"""

from typing import ClassVar, Literal

from pydantic import PositiveInt
from torch import Tensor

from aggregate.heads.attention import AttentionHead
from aggregate.heads.base import HeadBase, Parameters


class RandomAttentionSpec(HeadBase):
    """Control: the attention head with its attention left as it was drawn."""

    learned_pool: ClassVar[bool] = False
    words: ClassVar[str] = "random attention (control)"
    kind: Literal["random_attention"] = "random_attention"
    hidden: PositiveInt = 64
    """Width of the tanh layer."""

    def build(self, dim: int, n_classes: int) -> "RandomAttentionHead":
        """Make the head for tokens of this dimension."""
        return RandomAttentionHead(self, dim, n_classes, self.hidden)


class RandomAttentionHead(AttentionHead):
    """The attention head with a pool that no optimiser gets."""

    @property
    def starts_as_mean(self) -> bool:
        """Its attention is what was drawn."""
        return False

    def even(self, parameters: Parameters) -> dict[str, Tensor]:
        """As drawn: that is its point."""
        return dict(parameters)

    @property
    def trainable(self) -> frozenset[str]:
        """Everything behind the pool, or the embedding alone."""
        return super().trainable - self.pool_shapes().keys()
