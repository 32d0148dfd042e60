"""Where each volume's kept slices lie in the padded bags."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from aggregate.bags.beside import Beside, store_of
from aggregate.bags.token_names import token_names
from cache_schema.common.errors import StoreError
from cache_schema.store.reader import StoreReader, VolumeEntry

Stored = NDArray[np.floating]


@dataclass(frozen=True)
class Places:
    """Volumes of one array, or of several side by side, with the bag and the first slice of each in it."""

    store: StoreReader
    entries: tuple[VolumeEntry, ...]
    tokens: str
    bag: NDArray[np.int64]
    """The bag of every volume, ascending."""
    beside: Beside = field(default_factory=dict)
    """Other stores that `tokens` names arrays of."""

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """Kept slices of every volume."""
        return np.array([entry.n_slices for entry in self.entries], dtype=np.int64)

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """Kept slices of every bag."""
        return np.bincount(self.bag, weights=self.counts).astype(np.int64)

    @cached_property
    def first(self) -> NDArray[np.int64]:
        """The first volume of every bag, and behind them the number of volumes."""
        return np.searchsorted(self.bag, np.arange(len(self.lengths) + 1))

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """The slice of its bag at which each volume begins."""
        before = np.cumsum(self.counts) - self.counts
        return before - before[self.first[self.bag]]

    @property
    def dim(self) -> int:
        """Numbers that describe a slice."""
        found = [store_of(name, self.store, self.beside) for name in token_names(self.tokens)]
        return sum(int(store.layout(array).spec.item_shape[0]) for store, array in found)

    @property
    def one_each(self) -> bool:
        """Whether every volume is a bag of its own."""
        return len(self.lengths) == len(self.entries)

    def frame(self, dtype: torch.dtype) -> tuple[Bool[Tensor, "bag slice"], Float[Tensor, "bag slice"]]:
        """`keep` and the heights in mm of all bags."""
        longest = int(self.lengths.max(initial=0))
        height = np.zeros((len(self.lengths), longest), dtype=np.float32)
        for volume, entry in enumerate(self.entries):
            start = self.starts[volume]
            heights = self.store.record(entry.key).slices.height_mm
            height[self.bag[volume], start : start + entry.n_slices] = heights
        keep = np.arange(longest) < self.lengths[:, None]
        return torch.from_numpy(keep), torch.from_numpy(height).to(dtype)

    def read(self, volumes: Sequence[int] | NDArray[np.int64]) -> Stored:
        """Stored numbers of some volumes, (volume, slice, dim), NaN behind each one's kept slices.

        Raises:
            StoreError: If a kept slice holds NaN.
        """
        entries = [self.entries[volume] for volume in volumes]
        parts = [self._part(name, entries) for name in token_names(self.tokens)]
        stored: Stored = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1)
        keep = np.arange(stored.shape[1]) < self.counts[volumes][:, None]
        # One sum per slice finds NaN (and infinity) without a mask as large as the tokens.
        bad = ~np.isfinite(stored.sum(axis=-1, dtype=np.float32)) & keep
        if bad.any():
            key = entries[int(np.flatnonzero(bad.any(axis=1))[0])].key
            raise StoreError(
                f"{self.store.location}: {self.tokens} of {key} holds NaN in a kept slice; run cache verify"
            )
        return stored

    def _part(self, name: str, entries: Sequence[VolumeEntry]) -> Stored:
        """One array's numbers, from whichever store it is in."""
        store, array = store_of(name, self.store, self.beside)
        own = entries if store is self.store else [store.entry(entry.key) for entry in entries]
        part: Stored = store.read(array, own)
        return part
