"""Learned queries: `a = softmax(H q / sqrt d)`, `z = sum a_i h_i`; several are set side by side.

As AnyMC3D pools slices. A query begins uniform within 1/sqrt(d) of 0, so that pooling begins close to
the mean.
"""

from typing import ClassVar, Literal, Self

import torch
from jaxtyping import Bool, Float
from pydantic import PositiveInt
from torch import Tensor

from aggregate.heads.base import Head, HeadBase, Parameters
from aggregate.heads.centring import scaled
from aggregate.heads.embedding import Shapes
from aggregate.heads.score_pool import ScorePool


class QuerySpec(HeadBase):
    """A softmax over slices of `q . h / sqrt d` for one learned query, or several side by side."""

    words: ClassVar[str] = "query attention"
    kind: Literal["query"] = "query"
    queries: PositiveInt = 1
    """How many, whose pooled vectors stand side by side."""

    @classmethod
    def examples(cls) -> tuple[Self, ...]:
        """With one query and with two."""
        return (*super().examples(), cls(queries=2, embedding=(6,)))

    def build(self, dim: int, n_classes: int) -> "QueryHead":
        """Make the head for tokens of this dimension."""
        return QueryHead(self, dim, n_classes)


class QueryHead(Head):
    """Every query pools the slices in its own way; the pooled vectors are concatenated."""

    def __init__(self, spec: QuerySpec, dim: int, n_classes: int) -> None:
        """Fix the shapes."""
        super().__init__(spec, dim, n_classes)
        self.queries = spec.queries

    @property
    def pooled_dim(self) -> int:
        """One token's numbers per query."""
        return self.queries * self.dim

    @property
    def slice_width(self) -> int:
        """A score of each query, its weight and its gradient."""
        return 3 * self.queries

    def pool_shapes(self) -> Shapes:
        """`query.weight` holds the queries as rows."""
        return {"query.weight": (self.queries, self.dim)}

    @property
    def starts_as_mean(self) -> bool:
        """A single query, with all scores 0."""
        return self.queries == 1

    def even(self, parameters: Parameters) -> dict[str, Tensor]:
        """A single query is 0; several begin as drawn, close to even, or they would stay alike."""
        if self.queries > 1:
            return dict(parameters)
        return {**parameters, "query.weight": torch.zeros_like(parameters["query.weight"])}

    def pool(
        self,
        parameters: Parameters,
        x: Float[Tensor, "bag slice dim"],
        keep: Bool[Tensor, "bag slice"],
        height_mm: Float[Tensor, "bag slice"],
    ) -> tuple[Float[Tensor, "#run bag pooled"], Float[Tensor, "#run bag slice"]]:
        """The means by every query, one behind the other, and the mean of the queries' attention."""
        rows = (scaled(parameters, parameters["query.weight"]) * self.dim**-0.5).flatten(0, 1)
        pooled, attention, _ = ScorePool.apply(rows, x, keep)
        side_by_side = pooled.unflatten(0, (-1, self.queries)).transpose(1, 2).flatten(2)
        return side_by_side, attention.unflatten(0, (-1, self.queries)).mean(1)
