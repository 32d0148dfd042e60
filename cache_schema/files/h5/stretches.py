"""Parts of an HDF5 file that are read without HDF5: its bytes, once it was said where they lie.

Where they lie was said by a process that had read somebody's file, so it is held against the file's size.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from cache_schema.files.h5.caps import UnusualHdf5
from cache_schema.files.opened import OpenedFile


@dataclass(frozen=True, slots=True)
class Stretches:
    """A dataset of bytes that lies in one piece or in several of equal length."""

    size: int
    step: int
    offsets: Sequence[int]

    @classmethod
    def of(cls, said: Any, there: int, name: str) -> Self:
        """From what `places` says.

        Args:
            said: `size`, `step` and `offsets`.
            there: Bytes of the file.
            name: Of the dataset, for messages.

        Raises:
            UnusualHdf5: If it points outside the file.
        """
        found = cls(int(said["size"]), int(said["step"]), [int(offset) for offset in said["offsets"]])
        covered = min(found.step * len(found.offsets), there)
        inside = all(0 <= at <= there - found.step for at in found.offsets)
        if not 0 <= found.size <= covered or not inside:
            raise UnusualHdf5(f"the dataset {name!r} lies outside the file, or not all of it does inside")
        return found

    def read(self, file: OpenedFile, start: int, n_bytes: int) -> bytearray:
        """Some of its bytes.

        Raises:
            OSError: If the file is cut meanwhile.
        """
        found = bytearray(n_bytes)
        view = memoryview(found)
        while len(view):
            number, within = divmod(start, self.step)
            part = view[: self.step - within]
            if file.read_into(self.offsets[number] + within, [part]) < len(part):
                raise OSError("the file was cut while it was read")
            view, start = view[len(part) :], start + len(part)
        return found


class OpenedChunk:
    """A chunk where it lies in the file, with a checksum behind it that lies elsewhere."""

    def __init__(self, file: OpenedFile, start: int, n_bytes: int, checksum: bytes) -> None:
        """Hold where it lies."""
        self._file, self._start, self._n_bytes, self._checksum = file, start, n_bytes, checksum
        self.size = n_bytes + len(checksum)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *ending: object) -> None:
        return None

    def read_into(self, offset: int, buffers: Sequence[Any]) -> int:
        """Read in one call and without a copy; the checksum is put over what stands behind the chunk."""
        wanted = min(self.size, offset + sum(len(buffer) for buffer in buffers)) - offset
        got = self._file.read_into(self._start + offset, buffers)
        if got < min(wanted, self._n_bytes - offset):
            return got
        at = offset
        for buffer in buffers:
            first = max(at, self._n_bytes)
            last = min(at + len(buffer), self.size)
            if first < last:
                tail = self._checksum[first - self._n_bytes : last - self._n_bytes]
                buffer[first - at : last - at] = tail
            at += len(buffer)
        return max(0, wanted)
