"""The order of a bag's slices from the vertex down, for heads that go by it.

Heights decide and not the index, so that shuffled slices whose heights move along are the same bag. Slices of
one height stay in the order in which they lie.
"""

from dataclasses import dataclass
from typing import Self

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Descent:
    """Where each bag's slices lie, the highest first and pads last."""

    index: Int[Tensor, "bag slice"]

    @classmethod
    def of(cls, keep: Bool[Tensor, "bag slice"], height_mm: Float[Tensor, "bag slice"]) -> Self:
        """Sort by millimetres below the vertex."""
        return cls(height_mm.masked_fill(~keep, torch.inf).argsort(dim=1, stable=True))

    def sorted(self, values: Shaped[Tensor, "bag slice width"]) -> Shaped[Tensor, "bag slice width"]:
        """What belongs to slices, in this order."""
        return values.gather(1, self.index.unsqueeze(-1).expand_as(values))

    def restored(self, attention: Float[Tensor, "run bag slice"]) -> Float[Tensor, "run bag slice"]:
        """Attention in this order, put back where its slices lie."""
        return attention.gather(2, self.ranks.expand_as(attention))

    @property
    def ranks(self) -> Int[Tensor, "bag slice"]:
        """Each slice's place in this order."""
        return self.index.argsort(1)
