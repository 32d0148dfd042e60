"""Slices at fixed heights, one behind the other, and a linear classifier on top: the order-aware bar.

Tokens are interpolated linearly along the height below the vertex onto a grid that all bags share; above
a bag's first slice and below its last one these two are repeated. So every weight of the classifier has
one place in the head that it reads, which no pool has. The classifier's L2 penalty is training's.
"""

from typing import ClassVar, Literal, Self

import torch
from jaxtyping import Bool, Float
from pydantic import Field, model_validator
from torch import Tensor

from aggregate.heads.base import Head, HeadBase, Parameters
from aggregate.heads.embedding import Shapes
from aggregate.heads.order import Descent


class ConcatLogisticSpec(HeadBase):
    """Slices interpolated at fixed heights, one behind the other, and a linear classifier."""

    learned_pool: ClassVar[bool] = False
    words: ClassVar[str] = "concatenated slices, linear"
    kind: Literal["concat_logistic"] = "concat_logistic"
    points: int = Field(default=13, ge=2, le=1000)
    """Heights of the grid."""
    from_vertex_mm: tuple[float, float] = (10.0, 130.0)
    """Its first and last height, in millimetres below the vertex."""
    embedding: tuple[()] = ()
    """No layers, since it is linear: `[]`."""

    @model_validator(mode="after")
    def _descends(self) -> Self:
        first, last = self.from_vertex_mm
        if not first < last:
            raise ValueError(f"from_vertex_mm must go down the head, but {first} is not above {last}")
        return self

    @classmethod
    def examples(cls) -> tuple[Self, ...]:
        """With few heights and with more than there are slices."""
        return (cls(points=3), cls(points=8, from_vertex_mm=(-5, 80)))

    def build(self, dim: int, n_classes: int) -> "ConcatLogisticHead":
        """Make the head for tokens of this dimension."""
        return ConcatLogisticHead(self, dim, n_classes)


class ConcatLogisticHead(Head):
    """`z = [h(p_1), h(p_2), ...]`; attention is a slice's mean weight over the grid."""

    def __init__(self, spec: ConcatLogisticSpec, dim: int, n_classes: int) -> None:
        """Fix the shapes."""
        super().__init__(spec, dim, n_classes)
        self.points = spec.points
        self.grid = torch.linspace(*spec.from_vertex_mm, spec.points, dtype=torch.float64)

    @property
    def attends_by_content(self) -> bool:
        """Attention is by height alone."""
        return False

    @property
    def pooled_dim(self) -> int:
        """One token's numbers per height."""
        return self.points * self.dim

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
        """The interpolated tokens and the weights of the slices in them, once for all runs."""
        weight = interpolation(height_mm.to(x.dtype), keep, self.grid.to(x))
        return torch.bmm(weight, x).flatten(1).unsqueeze(0), weight.mean(1).unsqueeze(0)


def interpolation(
    height_mm: Float[Tensor, "bag slice"], keep: Bool[Tensor, "bag slice"], grid: Float[Tensor, " point"]
) -> Float[Tensor, "bag point slice"]:
    """Each slice's weight at each height of the grid; they sum to 1 over kept slices."""
    index = Descent.of(keep, height_mm).index
    heights = height_mm.masked_fill(~keep, torch.inf).gather(1, index)
    below = torch.searchsorted(heights, grid.expand(len(keep), -1).contiguous())
    last = keep.sum(1, keepdim=True) - 1
    above, below = (below - 1).clamp_min(0).minimum(last), below.minimum(last)
    top, bottom = heights.gather(1, above), heights.gather(1, below)
    span = torch.where(bottom > top, bottom - top, torch.inf)
    share = ((grid - top) / span).clamp(0, 1)
    weight = height_mm.new_zeros(len(keep), len(grid), keep.shape[1])
    weight.scatter_add_(2, index.gather(1, above).unsqueeze(2), (1 - share).unsqueeze(2))
    return weight.scatter_add_(2, index.gather(1, below).unsqueeze(2), share.unsqueeze(2))
