"""Writing a store anew, object by object: what export and import have in common.

The copy holds the committed volumes only, in rows sorted by key, in the plain layout, and sealed. Every
number is held against its volume digest on the way, so that a copy is never worse than it says.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from cache_schema.common.errors import StoreError
from cache_schema.common.terminal.progress import Progress
from cache_schema.format.digests.digest import volume_digest
from cache_schema.format.digests.proof import prove_array
from cache_schema.format.header import Header
from cache_schema.format.identity import VolumeKey
from cache_schema.format.layout import chunk_slices
from cache_schema.format.record import TableRow, VolumeRecord
from cache_schema.move.new_store import MakeSink, NewStore
from cache_schema.store.reader import StoreReader, VolumeEntry
from cache_schema.store.withdrawn import encode_tombstone


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
    make_sink: MakeSink,
    changes: Changes | None = None,
    previews: bool = True,
    progress: Progress | None = None,
) -> str:
    """Write every object of a new store, made of the committed volumes of another.

    Args:
        store: The original, of any layout.
        make_sink: Opens where the objects go.
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
    copy = NewStore(make_sink, header, len(planned), max(entry.n_slices for entry in store.entries))
    for name, tombstone in store.tombstones().by_name.items() if changes.tombstones else ():
        copy.put(name, encode_tombstone(tombstone))
    rows = []
    for row, (key, entry) in enumerate(planned):
        arrays = whole_volume(store, entry)
        record = _rewritten(changes.record(store.record(entry.key)), header, entry, key, row, arrays)
        copy.add(record, arrays, store.preview(entry.key) if previews else None)
        rows.append(_table_row(record))
        if progress is not None:
            progress(row + 1, len(planned))
    return copy.close(rows)


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
    """A record under its new key and row, and what a key is part of; it is signed when it is written."""
    if key == entry.key:
        return record.model_copy(update={"row": row})
    names = {"participant_id": key.participant_id, "session_id": key.session_id, "volume_id": key.volume_id}
    proofs = {
        spec.name: prove_array(key, spec, arrays[spec.name], chunk_slices(header, spec))
        for spec in header.arrays
    }
    made = {**names, "row": row, "arrays": proofs, "digest": volume_digest(key, arrays)}
    return record.model_copy(update=made)


def _table_row(record: VolumeRecord) -> TableRow:
    """The row of a volume that was committed, whatever was planned for it."""
    return TableRow(
        participant_id=record.participant_id,
        session_id=record.session_id,
        volume_id=record.volume_id,
        path=record.source.path,
        max_slices=len(record.slices.index),
    )
