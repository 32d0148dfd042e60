"""A store that is written anew, object by object, to whatever takes objects: a folder, an HDF5 file.

It is in the plain layout. Each volume's record is written after its numbers, table and seal at the end.
"""

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from cache_schema.files.chunks.chunk import encode
from cache_schema.format.canonical import canonical_json
from cache_schema.format.digests.digest import content_digest
from cache_schema.format.header import Header
from cache_schema.format.layout import (
    HEADER,
    SEALED_INDEX,
    SEALED_RECORDS,
    ArrayLayout,
    preview_name,
    record_name,
)
from cache_schema.format.metadata import metadata_objects, plain_layouts
from cache_schema.format.record import TableRow, VolumeRecord
from cache_schema.store.create import encode_header
from cache_schema.store.seal import IndexRow, index_row, sealed_index
from cache_schema.store.table import encode_segment, segment_name


class Sink(Protocol):
    """Takes the objects of a store, each once."""

    def put(self, name: str, data: bytes) -> None:
        """Take one."""
        ...

    def close(self) -> None:
        """All have come."""
        ...

    def abandon(self) -> None:
        """Let go of what is held, be it whole or not."""
        ...


MakeSink = Callable[[dict[str, ArrayLayout]], Sink]
"""Opens where the objects go, told how the arrays are stored."""


class FolderSink:
    """A folder of files, not yet under its final name."""

    def __init__(self, root: Path, layouts: dict[str, ArrayLayout]) -> None:
        """Create the folder."""
        self.root = root
        root.mkdir()

    def put(self, name: str, data: bytes) -> None:
        """Write a file."""
        path = f"{self.root}/{name}"
        try:
            file = open(path, "xb")  # noqa: SIM115
        except FileNotFoundError:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            file = open(path, "xb")  # noqa: SIM115
        with file:
            file.write(data)

    def close(self) -> None:
        """Nothing is left to do."""

    def abandon(self) -> None:
        """Nothing is held."""


class NewStore:
    """A store while it is written; volumes come in the order of their keys."""

    def __init__(self, make_sink: MakeSink, header: Header, n_rows: int, slices: int) -> None:
        """Write everything that a store without volumes has, but its table.

        Args:
            make_sink: Opens where it goes.
            header: Of the store.
            n_rows: Rows that its table will have.
            slices: Slices that its arrays must cover.
        """
        self._header, self._slices = header, slices
        self._layouts = plain_layouts(header, n_rows, slices)
        self._sink = make_sink(self._layouts)
        self._lines: list[bytes] = []
        self._index: list[IndexRow] = []
        for name, data in metadata_objects(self._layouts).items():
            self.put(name, data)
        self.put(HEADER, encode_header(header))

    def put(self, name: str, data: bytes) -> None:
        """Write an object that is no part of a volume: a tombstone, a failure."""
        self._sink.put(name, data)

    def add(self, record: VolumeRecord, arrays: dict[str, NDArray[Any]], preview: bytes | None) -> None:
        """Write one volume.

        Args:
            record: With its row; it is signed here.
            arrays: By name, kept slices, `(slice, *item_shape)`, in the storage dtype.
            preview: What the backbone saw, if it comes along.
        """
        for name, values in arrays.items():
            layout, step = self._layouts[name], self._layouts[name].chunk_slices
            for block in range(layout.blocks(len(values))):
                chunk = encode(layout, values[block * step : (block + 1) * step])
                self.put(layout.chunk_name(record.row, block), chunk)
        if preview is not None:
            self.put(preview_name(record.key), preview)
        raw = record.signed().model_dump(mode="json")
        line = canonical_json(raw)
        self.put(record_name(record.key), line)
        self._lines.append(line)
        self._index.append(index_row(raw))

    def close(self, rows: Sequence[TableRow], *, seal: bool = True) -> str:
        """Write the table and the seal.

        Returns:
            The content digest.
        """
        self.put(segment_name(0), encode_segment(0, self._slices, rows))
        if seal:
            body = b"\n".join(self._lines)
            index = sealed_index(self._index, self._header.digest, hashlib.sha256(body).hexdigest())
            self.put(SEALED_RECORDS, body)
            self.put(SEALED_INDEX, canonical_json(index))
        self._sink.close()
        return content_digest((row.key, row.digest) for row in self._index)
