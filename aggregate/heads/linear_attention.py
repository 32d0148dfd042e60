"""Linear attention: `a = softmax(w . h)` over kept slices, `z = sum a_i h_i` (AXIAL's pooling).

The published form adds a bias, which has no effect under a softmax and is left out.
"""

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from aggregate.heads.base import Head, HeadBase, Parameters
from aggregate.heads.centring import scaled
from aggregate.heads.embedding import Shapes
from aggregate.heads.score_pool import ScorePool


class LinearAttentionSpec(HeadBase):
    """A softmax over slices of `w . h`."""

    kind: Literal["linear_attention"] = "linear_attention"

    def build(self, dim: int, n_classes: int) -> "LinearAttentionHead":
        """Make the head for tokens of this dimension."""
        return LinearAttentionHead(self, dim, n_classes)


class LinearAttentionHead(Head):
    """One direction scores the slices; the softmax of the scores weighs them."""

    def pool_shapes(self) -> Shapes:
        """`attention.score.weight` is w."""
        return {"attention.score.weight": (self.dim,)}

    @property
    def starts_as_mean(self) -> bool:
        """With all scores 0."""
        return True

    def even(self, parameters: Parameters) -> dict[str, Tensor]:
        """Scores are 0."""
        return {
            **parameters,
            "attention.score.weight": torch.zeros_like(parameters["attention.score.weight"]),
        }

    def pool(
        self,
        parameters: Parameters,
        x: Float[Tensor, "bag slice dim"],
        keep: Bool[Tensor, "bag slice"],
        height_mm: Float[Tensor, "bag slice"],
    ) -> tuple[Float[Tensor, "#run bag dim"], Float[Tensor, "#run bag slice"]]:
        """Every run's own attention and the mean by it."""
        pooled, attention, _ = ScorePool.apply(
            scaled(parameters, parameters["attention.score.weight"]), x, keep
        )
        return pooled, attention
