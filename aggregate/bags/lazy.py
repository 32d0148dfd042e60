"""TokenArray that stay in the store: what training needs of a tensor, gathered bag by bag.

For cohorts that do not fit the memory. As many volumes as a budget allows stay in memory in their
storage dtype once they were read; the others are read again each time. The numbers, their padding and
with them all results are those of tokens in memory.
"""

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from aggregate.bags.places import Places

BLOCK = 64
"""Bags that an iteration reads at once."""


class Shelf:
    """Reads bags from the store, and keeps what it may."""

    def __init__(self, places: Places, budget: int) -> None:
        """Keep volumes of at most `budget` bytes in memory, the first that are read."""
        self.places = places
        self.left = budget
        self.kept: dict[int, NDArray[Any]] = {}
        self.lock = threading.Lock()
        self.dim = places.dim

    def gather(
        self, bags: NDArray[np.int64], length: int, dtype: torch.dtype
    ) -> Float[Tensor, "bag slice dim"]:
        """Bags in the order asked for, padded with 0 to `length` slices; a bag may be asked for twice."""
        unique, inverse = np.unique(bags, return_inverse=True)
        first = self.places.first
        volumes = [volume for bag in unique for volume in range(first[bag], first[bag + 1])]
        out = torch.zeros((len(unique), length, self.dim), dtype=dtype)
        rows = dict(zip(unique.tolist(), range(len(unique)), strict=True))
        for volume, values in self._read(volumes):
            start = int(self.places.starts[volume])
            out[rows[int(self.places.bag[volume])], start : start + len(values)] = torch.from_numpy(values)
        in_order = np.array_equal(inverse, np.arange(len(unique)))
        return out if in_order else out.index_select(0, torch.from_numpy(inverse))

    def _read(self, volumes: list[int]) -> Iterator[tuple[int, NDArray[Any]]]:
        """Kept slices of some volumes, from memory or from the store."""
        absent = [volume for volume in volumes if volume not in self.kept]
        for start in range(0, len(absent), BLOCK):
            part = absent[start : start + BLOCK]
            for volume, padded in zip(part, self.places.read(part), strict=True):
                values = padded[: self.places.counts[volume]]
                self._keep(volume, values)
                yield volume, values
        found = set(volumes) - set(absent)
        yield from ((volume, self.kept[volume]) for volume in sorted(found))

    def _keep(self, volume: int, values: NDArray[Any]) -> None:
        """Keep a volume if the budget has room; blocks train in several threads."""
        with self.lock:
            if volume not in self.kept and values.nbytes <= self.left:
                self.left -= values.nbytes
                self.kept[volume] = values.copy()


class LazyTokens:
    """Stands for a tensor (bag, slice, dim) that is 0 at pads."""

    def __init__(
        self,
        shelf: Shelf,
        bags: NDArray[np.int64],
        length: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | None = None,
    ) -> None:
        """Stand for some bags of a shelf, padded to `length` slices, that go to a device as they are read."""
        self.shelf, self.bags, self.length, self.dtype = shelf, bags, length, dtype
        self.device = device or torch.device("cpu")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Bags, slices, numbers in a token."""
        return len(self.bags), self.length, self.shelf.dim

    def __len__(self) -> int:
        return len(self.bags)

    def __getitem__(self, span: slice) -> Float[Tensor, "bag slice dim"]:
        return self.shelf.gather(self.bags[span], self.length, self.dtype).to(self.device)

    def __iter__(self) -> Iterator[Float[Tensor, "slice dim"]]:
        for start in range(0, len(self), BLOCK):
            yield from self[start : start + BLOCK]

    def index_select(self, dim: int, index: Int[Tensor, " bag"]) -> Float[Tensor, "bag slice dim"]:
        """Bags at `index`; `dim` must be 0."""
        if dim != 0:
            raise ValueError("only bags can be selected")
        return self.shelf.gather(self.bags[index.cpu().numpy()], self.length, self.dtype).to(self.device)

    def take(self, rows: Int[Tensor, " bag"], length: int) -> "LazyTokens":
        """Stand for some of the bags, cut after `length` slices, which must hold all of theirs."""
        return LazyTokens(self.shelf, self.bags[rows.cpu().numpy()], length, self.dtype, self.device)

    def on(self, device: torch.device) -> "LazyTokens":
        """Stand for the same numbers on a device: only what is read goes there."""
        return LazyTokens(self.shelf, self.bags, self.length, self.dtype, device)

    def to(self, dtype: torch.dtype) -> "LazyTokens":
        """Stand for the same numbers in another dtype, one that rounds none of them."""
        if dtype.itemsize < torch.float32.itemsize:
            raise ValueError(f"tokens that stay in the store are not rounded to {dtype}")
        return LazyTokens(self.shelf, self.bags, self.length, dtype, self.device)

    def contiguous(self) -> "LazyTokens":
        """As they are: what is gathered is contiguous."""
        return self


TokenArray = Tensor | LazyTokens
"""TokenArray of bags, (bag, slice, dim), in memory or in the store."""
