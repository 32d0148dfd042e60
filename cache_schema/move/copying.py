"""Writing a store anew, object by object: what export and import have in common.

The copy holds the committed volumes only, in rows sorted by key, in the plain layout, and sealed. Every
number is held against its volume digest on the way, so that a copy is never worse than it says.
"""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from cache_schema.common.errors import StoreError
from cache_schema.common.terminal.progress import Progress
from cache_schema.files.chunks.chunk import encode
from cache_schema.format.canonical import canonical_json
from cache_schema.format.digests.digest import content_digest, volume_digest
from cache_schema.format.digests.proof import prove_array
from cache_schema.format.header import Header
from cache_schema.format.identity import VolumeKey
from cache_schema.format.layout import (
    HEADER,
    SEALED_INDEX,
    SEALED_RECORDS,
    ArrayLayout,
    chunk_slices,
    preview_name,
    record_name,
)
from cache_schema.format.metadata import metadata_objects, plain_layouts
from cache_schema.format.record import TableRow, VolumeRecord
from cache_schema.store.create import encode_header
from cache_schema.store.reader import StoreReader, VolumeEntry
from cache_schema.store.seal import index_row, sealed_index
from cache_schema.store.table import encode_segment, segment_name
from cache_schema.store.withdrawn import encode_tombstone


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


@dataclass(frozen=True, slots=True)
class Changes:
    """What a copy says otherwise than its original; by default nothing."""

    header: Callable[[Header], Header] = lambda header: header
    key: Callable[[VolumeKey], VolumeKey] = lambda key: key
    record: Callable[[VolumeRecord], VolumeRecord] = lambda record: record
    """Everything of a record but its key, row and digest, which follow by themselves."""
    tombstones: bool = True
    """Whether those who were withdrawn stay so in the copy; under pseudonyms they would tell who it was."""


def copy_store(
    store: StoreReader,
    make_sink: Callable[[dict[str, ArrayLayout]], Sink],
    changes: Changes | None = None,
    previews: bool = True,
    progress: Progress | None = None,
) -> str:
    """Write every object of a new store, made of the committed volumes of another.

    Args:
        store: The original, of any layout.
        make_sink: Opens where the objects go, told how the arrays are stored.
        changes: What the copy says otherwise.
        previews: Whether previews come along.
        progress: Called with the volumes copied and their number.

    Returns:
        The copy's content digest.

    Raises:
        StoreError: If nothing is committed, or a volume is damaged.
    """
    changes = changes or Changes()
    if not store.entries:
        raise StoreError(f"{store.location!r} has no committed volume, so there is nothing to copy")
    header = changes.header(store.header)
    # Rows follow the new keys, so that they tell nothing of the old ones.
    planned = sorted((changes.key(entry.key), entry) for entry in store.entries)
    layouts = plain_layouts(header, len(planned), max(entry.n_slices for entry in store.entries))
    sink = make_sink(layouts)
    for name, data in metadata_objects(layouts).items():
        sink.put(name, data)
    sink.put(HEADER, encode_header(header))
    for name, tombstone in store.tombstones().by_name.items() if changes.tombstones else ():
        sink.put(name, encode_tombstone(tombstone))
    records = []
    for row, (key, entry) in enumerate(planned):
        arrays = whole_volume(store, entry)
        record = _rewritten(changes.record(store.record(entry.key)), header, entry, key, row, arrays)
        records.append(record)
        for name, values in arrays.items():
            _put_volume(sink, layouts[name], row, values)
        preview = store.preview(entry.key) if previews else None
        if preview is not None:
            sink.put(preview_name(key), preview)
        if progress is not None:
            progress(row + 1, len(planned))
    for name, data in closing_objects(header, records).items():
        sink.put(name, data)
    sink.close()
    return content_digest((record.key, record.digest) for record in records)


def whole_volume(store: StoreReader, entry: VolumeEntry) -> dict[str, NDArray[Any]]:
    """All arrays of a volume, held against its digest.

    Raises:
        StoreError: If a chunk is damaged, or the numbers are not those that were committed.
    """
    arrays = {spec.name: store.read(spec.name, [entry])[0] for spec in store.header.arrays}
    if volume_digest(entry.key, arrays) != entry.digest:
        raise StoreError(
            f"volume {entry.key} of {store.location!r} does not have the numbers that were committed; "
            "`slicecache cache verify` says more, and extracting it again with --replace repairs it"
        )
    return arrays


def _rewritten(
    record: VolumeRecord,
    header: Header,
    entry: VolumeEntry,
    key: VolumeKey,
    row: int,
    arrays: dict[str, NDArray[Any]],
) -> VolumeRecord:
    """A record under its new key and row, with its hash renewed, and what a key is part of."""
    if key == entry.key:
        return record.model_copy(update={"row": row}).signed()
    names = {"participant_id": key.participant_id, "session_id": key.session_id, "volume_id": key.volume_id}
    proofs = {
        spec.name: prove_array(key, spec, arrays[spec.name], chunk_slices(header, spec))
        for spec in header.arrays
    }
    made = {**names, "row": row, "arrays": proofs, "digest": volume_digest(key, arrays)}
    return record.model_copy(update=made).signed()


def _put_volume(sink: Sink, layout: ArrayLayout, row: int, values: NDArray[Any]) -> None:
    """Write one volume's chunks."""
    step = layout.chunk_slices
    for block in range(layout.blocks(len(values))):
        sink.put(layout.chunk_name(row, block), encode(layout, values[block * step : (block + 1) * step]))


def closing_objects(header: Header, records: list[VolumeRecord]) -> dict[str, bytes]:
    """The objects that are known once all volumes are: table, records, and the seal."""
    rows = [
        TableRow(
            participant_id=record.participant_id,
            session_id=record.session_id,
            volume_id=record.volume_id,
            path=record.source.path,
            max_slices=len(record.slices.index),
        )
        for record in records
    ]
    raws = [record.model_dump(mode="json") for record in records]
    lines = [canonical_json(raw) for raw in raws]
    body = b"\n".join(lines)
    index = sealed_index([index_row(raw) for raw in raws], header.digest, hashlib.sha256(body).hexdigest())
    longest = max(row.max_slices for row in rows)
    return {
        segment_name(0): encode_segment(0, longest, rows),
        **{record_name(record.key): line for record, line in zip(records, lines, strict=True)},
        SEALED_RECORDS: body,
        SEALED_INDEX: canonical_json(index),
    }
