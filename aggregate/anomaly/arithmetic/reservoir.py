"""A uniform sample, without replacement, of a stream of unknown length in bounded memory.

Every row that goes by draws a number, and the rows with the smallest numbers stay. The numbers come
from one seeded sequence, so the sample depends on the order of rows and not on how they are batched.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Offer:
    """Which offered rows are taken for now, and where they go."""

    source: Int[Tensor, " taken"]
    """Places among the offered rows."""
    slot: Int[Tensor, " taken"]
    """Places in the sample; whoever was there goes."""
    ordinal: NDArray[np.int64]
    """Number of each taken row, counted over everything offered so far."""


class Reservoir:
    """At most `size` rows of several columns."""

    def __init__(self, size: int, seed: int) -> None:
        """Start empty; memory is taken when rows come."""
        self.size = size
        self.offered = 0
        """Rows that went by."""
        self._generator = np.random.default_rng(seed)
        self._drawn = np.full(size, np.inf)
        self._ordinal = np.full(size, -1, dtype=np.int64)
        self._columns: list[Tensor] = []

    def __len__(self) -> int:
        return min(self.size, self.offered)

    def offer(self, n: int) -> Offer:
        """Decide which of the next `n` rows are taken."""
        drawn = self._generator.random(n)
        ordinal = np.arange(self.offered, self.offered + n)
        self.offered += n
        near = np.flatnonzero(drawn < self._drawn.max())
        everybody = np.concatenate([self._drawn, drawn[near]])
        stay = np.zeros(len(everybody), dtype=bool)
        stay[np.argpartition(everybody, self.size - 1)[: self.size]] = True
        source = near[stay[self.size :]]
        slot = np.flatnonzero(~stay[: self.size])
        self._drawn[slot], self._ordinal[slot] = drawn[source], ordinal[source]
        return Offer(torch.from_numpy(source), torch.from_numpy(slot), ordinal[source])

    def put(self, offer: Offer, *columns: Tensor) -> None:
        """Store the taken rows; each column has one row per taken one."""
        if not self._columns:
            self._columns = [column.new_empty((self.size, *column.shape[1:])) for column in columns]
        for own, column in zip(self._columns, columns, strict=True):
            own[offer.slot] = column

    def add(self, *columns: Tensor) -> None:
        """Offer rows and store those that are taken."""
        offer = self.offer(len(columns[0]))
        self.put(offer, *(column[offer.source] for column in columns))

    def rows(self) -> tuple[Tensor, ...]:
        """The sample's columns, in the order in which the rows went by."""
        slots = np.flatnonzero(self._ordinal >= 0)
        order = torch.from_numpy(slots[np.argsort(self._ordinal[slots])])
        return tuple(column[order] for column in self._columns)
