"""The lines of an object that may not fit the memory, found once and read when they are asked for."""

import hashlib
from collections.abc import Iterator, Sequence
from typing import overload

import numpy as np
from numpy.typing import NDArray

from cache_schema.files.objects import LocalObjects, Objects, Opened, OpenedBytes

AT_ONCE = 4 * 1024 * 1024
NEW_LINE = 10


class Lines(Sequence[bytes]):
    """Lines without their ends; an object that is not there has none."""

    def __init__(self, objects: Objects, name: str) -> None:
        """Find where they end: a folder's are read piece by piece, others are held in memory."""
        self._objects, self._name = objects, name
        self._held = None if isinstance(objects, LocalObjects) else OpenedBytes(objects.get(name) or b"")
        ends, size, digest = [np.zeros(0, dtype=np.int64)], 0, hashlib.sha256()
        for block in self._blocks():
            digest.update(block.data)
            ends.append(np.flatnonzero(block == NEW_LINE) + size)
            size += len(block)
        self.sha256 = digest.hexdigest()
        """Of the whole object."""
        self._ends = np.concatenate(ends)
        if size > (self._ends[-1] + 1 if len(self._ends) else 0):
            self._ends = np.append(self._ends, size)  # the last line may have no end

    def _blocks(self) -> Iterator[NDArray[np.uint8]]:
        """The object from beginning to end."""
        with self._opened() as opened:
            for start in range(0, opened.size, AT_ONCE):
                block = np.empty(min(AT_ONCE, opened.size - start), dtype=np.uint8)
                opened.read_into(start, [block.data])
                yield block

    def _opened(self) -> Opened:
        """The object, opened."""
        found = self._held or self._objects.opened(self._name, parts=True)
        return OpenedBytes(b"") if found is None else found

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, place: int) -> bytes: ...
    @overload
    def __getitem__(self, place: slice) -> list[bytes]: ...
    def __getitem__(self, place: int | slice) -> bytes | list[bytes]:
        if isinstance(place, slice):
            return [self[at] for at in range(*place.indices(len(self)))]
        place = range(len(self))[place]
        start = int(self._ends[place - 1]) + 1 if place else 0
        line = bytearray(int(self._ends[place]) - start)
        with self._opened() as opened:
            opened.read_into(start, [line])
        return bytes(line)
