"""The typical slice of every height: the mean token there of the participants a member was trained on."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from aggregate.bags.bags import Bags
from aggregate.common.arrays import Floats, Ints

BAND_MM = 4.0
"""Height of a band, whose mean stands at its middle; between two the mean is a straight line."""
AT_ONCE = 64
"""Bags read together, since their tokens may lie in the store."""


@dataclass(frozen=True, slots=True)
class HeightSums:
    """Sums of tokens by band of height."""

    first: int
    """Band that the sums begin with."""
    total: Floats
    """(band, dim)"""
    count: Floats
    """Slices (band,)."""

    def without(self, other: "HeightSums") -> "HeightSums":
        """What is left when some of the bags are taken out again; both are of one cohort's bands."""
        return HeightSums(self.first, self.total - other.total, self.count - other.count)

    def at(self, height_mm: Float[Tensor, "bag slice"]) -> Float[Tensor, "bag slice dim"]:
        """The mean token at some heights; beyond the outermost bands theirs."""
        there = np.flatnonzero(self.count > 0.5)
        mean = self.total[there] / self.count[there, None]
        middle = (self.first + there + 0.5) * BAND_MM
        height = height_mm.double().numpy()
        above = np.clip(np.searchsorted(middle, height), 1, max(1, len(there) - 1))
        low, high = above - 1, np.minimum(above, len(there) - 1)
        gap = np.where(high > low, middle[high] - middle[low], 1.0)
        share = np.clip((height - middle[low]) / gap, 0, 1)[..., None]
        return torch.from_numpy((1 - share) * mean[low] + share * mean[high])


def height_sums(bags: Bags, rows: Ints, span: tuple[int, int]) -> HeightSums:
    """Of some bags.

    Args:
        bags: Of the cohort.
        rows: Which.
        span: First and last band of the cohort, as `bands_of` gives them.
    """
    first, last = span
    total = torch.zeros((last - first + 1, bags.shape[2]), dtype=torch.float64)
    count = torch.zeros(last - first + 1, dtype=torch.float64)
    for start in range(0, len(rows), AT_ONCE):
        some = bags.take(rows[start : start + AT_ONCE])
        band = _bands(some.height_mm[some.keep]) - first
        total.index_add_(0, band, some.x[:][some.keep].double())
        count.index_add_(0, band, torch.ones(len(band), dtype=torch.float64))
    return HeightSums(first, total.numpy(), count.numpy())


def bands_of(bags: Bags) -> tuple[int, int]:
    """First and last band that any slice lies in."""
    found = _bands(bags.height_mm[bags.keep])
    return int(found.min()), int(found.max())


def _bands(height_mm: Float[Tensor, " slice"]) -> Tensor:
    return torch.floor(height_mm.double() / BAND_MM).long()
