"""A store in one HDF5 file, read without HDF5 in this process.

A process apart opens the file and says where everything lies; here its bytes are read from there, by any
number of threads. So the reader and the checks see the same named objects as in a folder.
"""

import os
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache_schema.common.errors import StoreError
from cache_schema.common.machine import refuse_machine
from cache_schema.common.stored_json import read_object
from cache_schema.files.chunks.chunk import CHECKSUM
from cache_schema.files.h5.apart import ask
from cache_schema.files.h5.caps import UnusualHdf5
from cache_schema.files.h5.names import CHECKSUMS, CHUNK, H5_INDEX, OBJECTS
from cache_schema.files.h5.running import UnreadableHdf5
from cache_schema.files.h5.stretches import OpenedChunk, Stretches
from cache_schema.files.opened import Opened, OpenedBytes, OpenedFile, require_size
from cache_schema.files.read_only import ReadOnly
from cache_schema.format.limits import unsafe_name

Index = dict[str, tuple[str, int, int]]
"""Where each object lies: the part, its first byte there and its length."""


@dataclass(frozen=True, slots=True)
class Cut:
    """An array in the file."""

    axes: int
    n_bytes: int
    """Of a chunk."""
    starts: NDArray[np.int64]
    """Where each chunk begins, `(volume, chunk)`; -1 where there is none."""


class H5Objects(ReadOnly):
    """The objects of an HDF5 file, for reading."""

    def __init__(self, path: Path) -> None:
        """Open the file; it stays open.

        Raises:
            StoreError: If it is no HDF5 file, a truncated one, or holds no store.
        """
        self.path, self.where = path, str(path)
        self._file = self._opened()
        weakref.finalize(self, self._file.__exit__)
        try:
            # The place of a chunk takes three times what its checksum takes, which lies in the file.
            said, body = ask("store", path, most=3 * self._file.size)
            if said["file"] != self._file.identity:
                raise UnusualHdf5("the file was replaced while it was opened")
            self._parts = {
                name: Stretches.of(place, self._file.size, f"{OBJECTS}/{name}")
                for name, place in said["parts"].items()
            }
            index = self._parts[H5_INDEX]
            self._index = parsed_index(index.read(self._file, 0, index.size), self._parts)
            self._checksums = {name: self._table(name, place) for name, place in said["checksums"].items()}
            self._arrays: dict[str, Cut] = {}
            for name, cut in said["arrays"].items():
                self._arrays[name], body = self._cut(name, cut, body)
        except UnusualHdf5 as error:
            raise StoreError(f"{self.where!r}: {error}, which no export has; it is not read") from error
        except UnreadableHdf5 as error:
            refuse_machine(error, "read", path)
            if not error.opened:
                raise StoreError(f"{self.where!r} is no HDF5 file, or a truncated one") from error
            raise self._no_store(error) from error
        except (KeyError, ValueError, TypeError, AttributeError, OSError) as error:
            refuse_machine(error, "read", path)
            raise self._no_store(error) from error

    def _opened(self) -> OpenedFile:
        """The file, for reading its bytes."""
        try:
            return OpenedFile(os.path.realpath(self.path))
        except OSError as error:
            refuse_machine(error, "read", self.path)
            raise StoreError(f"{self.where!r} is no HDF5 file, or a truncated one") from error

    def _no_store(self, error: Exception) -> StoreError:
        """What is wrong with an HDF5 file in which there is no store."""
        why = f" ({error})" if "damaged" in str(error) else ""
        return StoreError(
            f"{self.where!r} is an HDF5 file without a readable slicecache store{why}; "
            "`slicecache cache export` makes one"
        )

    def _table(self, name: str, place: Any) -> NDArray[np.int64]:
        """The checksums of an array, `(volume, chunk)`."""
        stretches = Stretches.of(place, self._file.size, f"{CHECKSUMS}/{name}")
        values = np.frombuffer(stretches.read(self._file, 0, stretches.size), dtype="<i8")
        return values.reshape(place["shape"])

    def _cut(self, name: str, said: Any, body: bytearray) -> tuple[Cut, bytearray]:
        """How an array is cut, and what stands behind its chunks' places."""
        axes, n_bytes, behind = int(said["axes"]), int(said["bytes"]), 24 * int(said["chunks"])
        rows, blocks = self._checksums[name].shape
        row, block, offset = np.frombuffer(body[:behind], dtype=np.int64).reshape(-1, 3).T
        inside = (row >= 0) & (row < rows) & (block >= 0) & (block < blocks)
        inside &= (offset >= 0) & (offset <= self._file.size - n_bytes)
        if axes < 2 or n_bytes < 1 or not inside.all():
            raise UnusualHdf5(f"the dataset {name!r} has chunks that lie outside the file")
        require_size(f"{name}/c.0.0", n_bytes + CHECKSUM.size)
        starts = np.full((rows, blocks), -1, dtype=np.int64)
        starts[row, block] = offset
        return Cut(axes, n_bytes, starts), body[behind:]

    def get(self, name: str) -> bytes | None:
        """Read an object, or a chunk with its checksum."""
        opened = self.opened(name, parts=False)
        if opened is None:
            return None
        data = bytearray(opened.size)
        if opened.read_into(0, [data]) < len(data):
            raise StoreError(f"{name} in {self.where!r} cannot be read: the file was cut meanwhile")
        return bytes(data)

    def opened(self, name: str, *, parts: bool) -> Opened | None:
        """Read an object whole, or find a chunk; or None."""
        try:
            if name in self._index:
                part, start, n = self._index[name]
                require_size(name, n)
                return OpenedBytes(bytes(self._parts[part].read(self._file, start, n)))
            chunk = CHUNK.fullmatch(name)
            if chunk is None or chunk["array"] not in self._checksums:
                return None
            return self._chunk(chunk["array"], int(chunk["row"]), int(chunk["block"]))
        except (OSError, KeyError, ValueError, TypeError) as error:
            refuse_machine(error, "read", self.path)
            raise StoreError(f"{name} in {self.where!r} cannot be read: {error}") from error

    def _chunk(self, array: str, row: int, block: int) -> OpenedChunk | None:
        """The bytes of a chunk as they lie in the file, followed by their checksum."""
        checksums = self._checksums[array]
        if row >= len(checksums) or block >= checksums.shape[1] or checksums[row, block] < 0:
            return None
        if checksums[row, block] >= 2**32:
            raise ValueError(f"{checksums[row, block]} is no crc32c")
        cut = self._arrays[array]
        start = int(cut.starts[row, block])
        if start < 0:
            raise ValueError("it has a checksum, and no bytes")
        checksum = CHECKSUM.pack(int(checksums[row, block]))
        return OpenedChunk(self._file, start, cut.n_bytes, checksum)

    def list(self, prefix: str) -> list[str]:
        """Names below a folder."""
        names = [name for name in self._index if name.startswith(f"{prefix}/")]
        if prefix in self._checksums:
            rest = ".0" * (self._arrays[prefix].axes - 2)
            found = np.argwhere(self._checksums[prefix] >= 0)
            names += [f"{prefix}/c.{row}.{block}{rest}" for row, block in found]
        return sorted(names)


def parsed_index(stored: bytes | bytearray, parts: dict[str, Stretches]) -> Index:
    """Where each object lies.

    Raises:
        UnusualHdf5: If it names what is not there, or what could lie outside a store.
        ValueError: If it is no JSON.
    """
    found: Index = {}
    for name, place in read_object(bytes(stored), limit=len(stored)).items():
        if unsafe_name(name) or not name.isascii():
            raise UnusualHdf5(f"the index names {name!a:.200}")
        part, start, n = place
        if type(part) is not str or type(start) is not int or type(n) is not int:
            raise UnusualHdf5(f"the index says {place!a:.200} of {name:.200}")
        if part not in parts or not 0 <= start <= start + n <= parts[part].size:
            raise UnusualHdf5(f"the index points outside the file for {name:.200}")
        found[name] = part, start, n
    return found
