"""The records of an open store, each read and parsed when it is asked for.

A record in memory takes 10 kB and more. A cohort of 100,000 is gone through a few times, so the first
thousands are kept, and the others are parsed again, without their hash being taken again.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar, overload

from cache_schema.format.record import VolumeRecord

KEPT = 4096
"""Records that stay in memory: 40 MB of short ones."""
T = TypeVar("T")


class Picked(Sequence[T]):
    """Some of a sequence, by place, without taking them out of it."""

    def __init__(self, source: Sequence[T], places: Sequence[int]) -> None:
        """Stand for the items at some places."""
        self._source, self._places = source, places

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, place: int) -> T: ...
    @overload
    def __getitem__(self, place: slice) -> "Picked[T]": ...
    def __getitem__(self, place: int | slice) -> "T | Picked[T]":
        if isinstance(place, slice):
            return Picked(self._source, self._places[place])
        return self._source[self._places[place]]


class Records(Sequence[VolumeRecord]):
    """Commit records, in the order of a store's entries."""

    def __init__(self, count: int, read: Callable[[int, bool], VolumeRecord]) -> None:
        """Stand for `count` records; `read` gives one, told whether its hash was found right before."""
        self._count, self._read = count, read
        self._kept: dict[int, VolumeRecord] = {}
        self._sound = bytearray(count)

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, place: int) -> VolumeRecord: ...
    @overload
    def __getitem__(self, place: slice) -> Picked[VolumeRecord]: ...
    def __getitem__(self, place: int | slice) -> VolumeRecord | Picked[VolumeRecord]:
        if isinstance(place, slice):
            return Picked(self, range(*place.indices(len(self))))
        place = range(len(self))[place]
        if place in self._kept:
            return self._kept[place]
        record = self._read(place, bool(self._sound[place]))
        self._sound[place] = 1
        if len(self._kept) < KEPT:
            self._kept[place] = record
        return record
