"""A store in one HDF5 file: for taking along, never for workers to write to.

Arrays are HDF5 datasets of the same name and chunks; the crc32c of every chunk stands beside them, and
all other objects lie byte for byte in a few datasets with an index. So the reader and the checks see
the same named objects as in a folder.
"""

import json
import re
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cache_schema.common.errors import StoreError
from cache_schema.common.machine import refuse_machine
from cache_schema.common.stored_json import read_object
from cache_schema.files.chunks.chunk import CHECKSUM
from cache_schema.files.h5.caps import UnusualHdf5, chunked, numbers_of
from cache_schema.files.h5.out import SteadyFile
from cache_schema.files.opened import Opened, OpenedBytes, require_size
from cache_schema.files.read_only import ReadOnly
from cache_schema.format.canonical import canonical_json
from cache_schema.format.header import FORMAT, VERSION
from cache_schema.format.layout import HEADER, MARKER, ArrayLayout
from cache_schema.format.limits import unsafe_name

CHECKSUMS = "checksums"
"""Group with an int64 dataset per array, (volume, chunk): the crc32c, or -1 where there is no chunk."""
OBJECTS = "objects"
"""Group with one uint8 dataset per folder of objects, and `index`: name -> [dataset, start, length]."""
H5_INDEX = "index"
ROOT = "root"
"""The dataset of objects that lie in no folder."""
ASIDE = 4 * 1024 * 1024
"""Bytes of small objects that are kept in memory before they are written."""
CHUNK = re.compile(r"(?P<array>[^/]+)/c\.(?P<row>\d+)\.(?P<block>\d+)(\.0)*")

ONE_AT_A_TIME = threading.Lock()
"""HDF5 is one for the process and takes one thread; h5py up to 3.12 does not hold its own lock while it
reads a chunk directly, and fails now and then where several threads read."""


class H5Objects(ReadOnly):
    """The objects of an HDF5 file, for reading."""

    def __init__(self, path: Path) -> None:
        """Open the file; it stays open.

        Raises:
            StoreError: If it is no HDF5 file, a truncated one, or holds no store.
        """
        import h5py

        self.path, self.where = path, str(path)
        try:
            self._file = h5py.File(path, "r")
        except OSError as error:
            refuse_machine(error, "read", path)
            raise StoreError(f"{str(path)!r} is no HDF5 file, or a truncated one") from error
        try:
            self._parts = {
                name: numbers_of(self._file, f"{OBJECTS}/{name}", "u1", 1) for name in self._file[OBJECTS]
            }
            self._index = read_index_of_parts(self._parts)
            self._checksums = {
                name: numbers_of(self._file, f"{CHECKSUMS}/{name}", "<i8", 2)[:]
                for name in self._file[CHECKSUMS]
            }
            # Looking a dataset up by its name takes a third of the time of reading a chunk.
            self._arrays = {name: chunked(self._file, name) for name in self._checksums}
            self._steps = {name: int(array.chunks[1]) for name, array in self._arrays.items()}
        except UnusualHdf5 as error:
            raise StoreError(f"{str(path)!r}: {error}, which no export has; it is not read") from error
        except (KeyError, ValueError, TypeError, AttributeError, OSError, RuntimeError) as error:
            raise StoreError(
                f"{str(path)!r} is an HDF5 file without a readable slicecache store; "
                "`slicecache cache export` makes one"
            ) from error

    def get(self, name: str) -> bytes | None:
        """Read an object, or a chunk with its checksum."""
        try:
            with ONE_AT_A_TIME:
                return self._read(name)
        except (OSError, KeyError, RuntimeError, ValueError, TypeError) as error:
            refuse_machine(error, "read", self.path)
            raise StoreError(f"{name} in {str(self.path)!r} cannot be read: {error}") from error

    def _read(self, name: str) -> bytes | None:
        """Read an object, or a chunk with its checksum, while nobody else is inside HDF5."""
        if name in self._index:
            part, start, n = self._index[name]
            require_size(name, n)
            return bytes(self._parts[part][start : start + n].tobytes())
        chunk = CHUNK.fullmatch(name)
        if chunk is None or chunk["array"] not in self._checksums:
            return None
        return self._chunk(chunk["array"], int(chunk["row"]), int(chunk["block"]))

    def opened(self, name: str, *, parts: bool) -> Opened | None:
        """Read an object whole, or None."""
        data = self.get(name)
        return None if data is None else OpenedBytes(data)

    def _chunk(self, array: str, row: int, block: int) -> bytes | None:
        """The bytes of a chunk as they lie in the file, followed by their checksum."""
        checksums = self._checksums[array]
        if row >= len(checksums) or block >= checksums.shape[1] or checksums[row, block] < 0:
            return None
        if checksums[row, block] >= 2**32:
            raise ValueError(f"{checksums[row, block]} is no crc32c")
        dataset = self._arrays[array]
        place = (row, block * self._steps[array], *[0] * (dataset.ndim - 2))
        _, data = dataset.id.read_direct_chunk(place)
        return bytes(data) + CHECKSUM.pack(int(checksums[row, block]))

    def list(self, prefix: str) -> list[str]:
        """Names below a folder."""
        names = [name for name in self._index if name.startswith(f"{prefix}/")]
        if prefix in self._checksums:
            rest = ".0" * (self._arrays[prefix].ndim - 2)
            found = np.argwhere(self._checksums[prefix] >= 0)
            names += [f"{prefix}/c.{row}.{block}{rest}" for row, block in found]
        return sorted(names)


def read_index_of_parts(parts: Mapping[str, Any]) -> dict[str, tuple[str, int, int]]:
    """Where each object lies: the part, its first byte there and its length.

    Raises:
        UnusualHdf5: If it names what is not there, or what could lie outside a store.
        ValueError: If it is no JSON.
    """
    stored = parts[H5_INDEX]
    index = read_object(stored[:].tobytes(), limit=stored.size)
    found: dict[str, tuple[str, int, int]] = {}
    for name, place in index.items():
        if unsafe_name(name) or not name.isascii():
            raise UnusualHdf5(f"the index names {name!a:.200}")
        part, start, n = place
        if type(part) is not str or type(start) is not int or type(n) is not int:
            raise UnusualHdf5(f"the index says {place!a:.200} of {name:.200}")
        if part not in parts or not 0 <= start <= start + n <= parts[part].size:
            raise UnusualHdf5(f"the index points outside the file for {name:.200}")
        found[name] = part, start, n
    return found


class H5Sink:
    """Writes the objects of a store to a new HDF5 file."""

    def __init__(self, path: Path, layouts: dict[str, ArrayLayout]) -> None:
        """Create the file with its datasets, all chunks still missing."""
        import h5py

        self._out = SteadyFile(path)
        self._file = h5py.File(self._out, "w")
        self._file.attrs[MARKER] = json.dumps({"format": FORMAT, "version": VERSION, "header": HEADER})
        self._layouts = layouts
        self._parts: dict[str, bytearray] = {}
        self._written: dict[str, int] = {}
        self._index: dict[str, tuple[str, int, int]] = {}
        self._checksums: dict[str, Any] = {}
        for name, layout in layouts.items():
            dataset = self._file.create_dataset(
                name,
                shape=layout.shape,
                chunks=(1, *layout.chunk_shape),
                dtype=layout.dtype,
                fillvalue=np.nan,
            )
            for axis, dim in enumerate(layout.spec.dims):
                dataset.dims[axis].label = dim
            blocks = layout.blocks(layout.shape[1])
            self._checksums[name] = np.full((layout.shape[0], blocks), -1, dtype=np.int64)

    def put(self, name: str, data: bytes) -> None:
        """Write a chunk into its dataset, or set another object aside."""
        chunk = CHUNK.fullmatch(name)
        if chunk is not None and chunk["array"] in self._layouts:
            row, block = int(chunk["row"]), int(chunk["block"])
            layout = self._layouts[chunk["array"]]
            place = (row, block * layout.chunk_slices, *[0] * len(layout.spec.item_shape))
            self._file[chunk["array"]].id.write_direct_chunk(place, data[: -CHECKSUM.size])
            self._out.check()
            self._checksums[chunk["array"]][row, block] = CHECKSUM.unpack(data[-CHECKSUM.size :])[0]
            return
        folder, slash, _ = name.partition("/")
        part = folder if slash else ROOT
        body = self._parts.setdefault(part, bytearray())
        self._index[name] = (part, self._written.get(part, 0) + len(body), len(data))
        body += data
        if len(body) >= ASIDE:
            self._append(part)

    def _append(self, part: str) -> None:
        """Write what was set aside of a part behind what is there."""
        body = np.frombuffer(bytes(self._parts[part]), dtype=np.uint8)
        name, start = f"{OBJECTS}/{part}", self._written.get(part, 0)
        if start == 0:
            chunks = (ASIDE,) if len(body) >= ASIDE else None
            self._file.create_dataset(name, data=body, chunks=chunks, maxshape=(None,) if chunks else None)
        else:
            self._file[name].resize(start + len(body), axis=0)
            self._file[name][start:] = body
        self._out.check()
        self._written[part] = start + len(body)
        self._parts[part].clear()

    def close(self) -> None:
        """Write what was set aside, and close the file."""
        for name, checksums in self._checksums.items():
            self._file[f"{CHECKSUMS}/{name}"] = checksums
        for part, body in self._parts.items():
            if body:
                self._append(part)
        self._file[f"{OBJECTS}/{H5_INDEX}"] = np.frombuffer(canonical_json(self._index), dtype=np.uint8)
        self.abandon()
        self._out.check()

    def abandon(self) -> None:
        """Let go of the file, be it whole or not."""
        self._file.close()
        self._out.close()
