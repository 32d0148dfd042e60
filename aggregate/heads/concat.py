"""Slices one behind the other as they come, and a linear classifier on top: MST's fusion `linear`.

The Medical Slice Transformer's code (arXiv 2411.15802) puts the tokens of 32 slices into one vector. Two
linear layers with nothing between them are one, so the classifier here reads that vector. Slices are counted
from the vertex down; a bag with fewer is filled with zeros, and one with more is refused, since its slices
would have no weight.
"""

from typing import ClassVar, Literal, Self

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor

from aggregate.heads.base import Head, HeadBase, Parameters
from aggregate.heads.embedding import Shapes
from aggregate.heads.order import Descent
from cache_schema.common.errors import SlicecacheError


class ConcatSpec(HeadBase):
    """So many slices from the vertex down, one behind the other, and a linear classifier."""

    learned_pool: ClassVar[bool] = False
    words: ClassVar[str] = "slices by number, linear"
    kind: Literal["concat"] = "concat"
    slices: int = Field(default=32, ge=1, le=1000)
    """The most that a bag may have."""
    embedding: tuple[()] = ()
    """No layers, since it is linear: `[]`."""

    @classmethod
    def examples(cls) -> tuple[Self, ...]:
        """With room for more slices than there are."""
        return (cls(slices=16),)

    def build(self, dim: int, n_classes: int) -> "ConcatHead":
        """Make the head for tokens of this dimension."""
        return ConcatHead(self, dim, n_classes)


class ConcatHead(Head):
    """`z = [h_1, h_2, ...]`; attention is even, as no slice counts for more."""

    def __init__(self, spec: ConcatSpec, dim: int, n_classes: int) -> None:
        """Fix the shapes."""
        super().__init__(spec, dim, n_classes)
        self.slices = spec.slices

    @property
    def pooled_dim(self) -> int:
        """One token's numbers per slice."""
        return self.slices * self.dim

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
        """The slices in order, once for all runs.

        Raises:
            SlicecacheError: If a bag has more slices than there is room for.
        """
        counts = keep.sum(1)
        if int(counts.max()) > self.slices:
            raise SlicecacheError(
                f"head concat: slices is {self.slices}, but a bag has {int(counts.max())}; raise it, or keep "
                "fewer slices"
            )
        ordered = Descent.of(keep, height_mm).sorted(x.masked_fill(~keep.unsqueeze(-1), 0))
        more = max(0, self.slices - x.shape[1])
        filled = torch.nn.functional.pad(ordered[:, : self.slices], (0, 0, 0, more))
        return filled.flatten(1).unsqueeze(0), (keep.to(x.dtype) / counts.unsqueeze(1)).unsqueeze(0)
