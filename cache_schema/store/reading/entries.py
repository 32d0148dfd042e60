"""The committed volumes of an open store as columns: a volume is 200 bytes, and an object when asked for."""

import sys
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import eq
from typing import overload

import numpy as np
from numpy.typing import NDArray

from cache_schema.common.errors import StoreError
from cache_schema.format.identity import VolumeKey

MOST = 2**31
"""Rows and slices are counted below this; Zarr's extents of a store of 2e9 volumes would not be read."""


@dataclass(frozen=True, slots=True)
class VolumeEntry:
    """A committed volume: where it lies and how long it is."""

    key: VolumeKey
    row: int
    n_slices: int
    """Kept slices."""
    digest: str
    """Volume digest."""


class Entries(Sequence[VolumeEntry]):
    """Committed volumes, sorted by key; a slice of them is a tuple."""

    def __init__(
        self,
        participant_id: Iterable[str],
        session_id: Iterable[str],
        volume_id: Iterable[str],
        row: Sequence[int],
        n_slices: Sequence[int],
        digest: Iterable[str],
    ) -> None:
        """Hold columns of equal length.

        Raises:
            StoreError: If they are not sorted by key, or a key, a row or a length cannot be meant.
        """
        # Texts that repeat are kept once: most volumes of a cohort have the same session and volume id.
        self.participant_id = tuple(map(sys.intern, participant_id))
        self.session_id = tuple(map(sys.intern, session_id))
        self.volume_id = tuple(map(sys.intern, volume_id))
        self.digest = tuple(digest)
        for what, values in (("row", row), ("number of slices", n_slices)):
            wrong = next((value for value in values if not 0 <= value < MOST), None)
            if wrong is not None:
                raise StoreError(f"a committed volume has the {what} {wrong}, and no store reaches that")
        self.row = np.array(row, dtype=np.int64)
        self.n_slices = np.array(n_slices, dtype=np.int64)
        self._by_row = np.argsort(self.row, kind="stable")
        self._require_order()

    def _require_order(self) -> None:
        """Refuse two volumes of one key or in one row, and keys that are not sorted."""
        keys = zip(self.participant_id, self.session_id, self.volume_id, strict=True)
        for place, (key, following) in enumerate(pairwise(keys)):
            if key >= following:
                what = "is there twice" if key == following else "is not sorted by its key"
                raise StoreError(f"volume {self[place].key} {what}, in the sealed index or among the records")
        rows = self.row[self._by_row]
        same = np.flatnonzero(rows[1:] == rows[:-1])
        if len(same):
            first, second = (self[self._by_row[same[0] + step]].key for step in (0, 1))
            raise StoreError(f"volumes {first} and {second} have the same row {rows[same[0]]} of the arrays")

    def find(self, key: VolumeKey) -> int | None:
        """Place of a volume, or None."""

        def key_at(place: int) -> tuple[str, str, str]:
            return self.participant_id[place], self.session_id[place], self.volume_id[place]

        wanted = (key.participant_id, key.session_id, key.volume_id)
        place = bisect_left(range(len(self)), wanted, key=key_at)
        return place if place < len(self) and key_at(place) == wanted else None

    def places(self, entries: Sequence[VolumeEntry]) -> NDArray[np.int64]:
        """Places of entries of this store.

        Raises:
            StoreError: If one belongs to another store, or to this one before it was changed.
        """
        rows = np.array([entry.row for entry in entries], dtype=np.int64)
        if not len(self) or not len(rows):
            places = np.zeros(0, dtype=np.int64)
        else:
            at = np.searchsorted(self.row, rows, sorter=self._by_row)
            places = self._by_row[np.minimum(at, len(self) - 1)]
        mine = map(self.digest.__getitem__, places.tolist())
        if len(places) < len(rows) or not all(map(eq, mine, (entry.digest for entry in entries))):
            raise StoreError("an entry is asked for that is not of this store; use its own `entries`")
        return places

    def __len__(self) -> int:
        return len(self.digest)

    @overload
    def __getitem__(self, place: int) -> VolumeEntry: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[VolumeEntry, ...]: ...
    def __getitem__(self, place: int | slice) -> VolumeEntry | tuple[VolumeEntry, ...]:
        if isinstance(place, slice):
            return tuple(self[at] for at in range(*place.indices(len(self))))
        key = VolumeKey(self.participant_id[place], self.session_id[place], self.volume_id[place])
        return VolumeEntry(key, int(self.row[place]), int(self.n_slices[place]), self.digest[place])

    def __iter__(self) -> Iterator[VolumeEntry]:
        columns = (self.participant_id, self.session_id, self.volume_id, self.digest)
        numbers = zip(self.row.tolist(), self.n_slices.tolist(), strict=True)
        for (*key, digest), (row, n) in zip(zip(*columns, strict=True), numbers, strict=True):
            yield VolumeEntry(VolumeKey(*key), row, n, digest)

    def __eq__(self, other: object) -> bool:
        """Equal to a sequence of equal entries."""
        return isinstance(other, Sequence) and len(other) == len(self) and all(map(eq, self, other))

    __hash__ = None  # type: ignore[assignment]
