"""How far tokens are from a bank: the metric, how many neighbours count, how several become one number."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import normalize

from aggregate.anomaly.arithmetic.nearest import largest_cosine, nearest_squares

Metric = Literal["cosine", "l2"]


@dataclass(frozen=True, slots=True)
class Distances:
    """Mean distances to the nearest tokens."""

    metric: Metric
    neighbours: int
    as_released: bool
    """By AnomalyDINO's rules for several neighbours by `l2`, and for tokens of zeros."""

    def scaled(self, tokens: Float[Tensor, "*any dim"]) -> Float[Tensor, "*any dim"]:
        """Of length 1 for cosines; what the other functions take."""
        return normalize(tokens, dim=-1) if self.metric == "cosine" else tokens

    def to(
        self, query: Float[Tensor, "query dim"], bank: Float[Tensor, "token dim"]
    ) -> Float[Tensor, " query"]:
        """Of every query; both are scaled."""
        if self.metric == "cosine" and self.neighbours == 1 and not self.as_released:
            return (1 - largest_cosine(query, bank)).clamp_min(0)
        squares = nearest_squares(query, bank, self.neighbours)
        if self.metric == "l2":
            return squares.mean(1).sqrt() if self.as_released else squares.sqrt().mean(1)
        # Half the squared distance of tokens of length 1 is 1 - cos; a token of zeros has no direction.
        cosine = squares.mean(1) / 2
        return cosine if self.as_released else torch.where(query.any(1), cosine, 1.0)

    def among(
        self, slices: Float[Tensor, "slice patch dim"], admitted: Bool[Tensor, "slice patch"]
    ) -> Float[Tensor, "slice patch"]:
        """Each slice's tokens from those that the others admit; 0 where there is none."""
        found = torch.zeros(slices.shape[:2], dtype=slices.dtype)
        for place, own in enumerate(slices):
            others = admitted.clone()
            others[place] = False
            if others.any():
                found[place] = self.to(own, slices[others])
        return found
