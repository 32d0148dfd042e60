"""Writing a store to one HDF5 file: for taking along, never for workers to write to.

Arrays are HDF5 datasets of the same name and chunks; the crc32c of every chunk stands beside them, and
all other objects lie byte for byte in a few datasets with an index. What is written here is ours, so HDF5
runs in this process.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from cache_schema.files.chunks.chunk import CHECKSUM
from cache_schema.files.h5.names import CHECKSUMS, CHUNK, H5_INDEX, OBJECTS, ROOT
from cache_schema.files.h5.out import SteadyFile
from cache_schema.format.canonical import canonical_json
from cache_schema.format.header import FORMAT, VERSION
from cache_schema.format.layout import HEADER, MARKER, ArrayLayout

ASIDE = 4 * 1024 * 1024
"""Bytes of small objects that are kept in memory before they are written."""


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
