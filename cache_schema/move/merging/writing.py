"""Writing what was gathered from stores: beside its place, volume by volume, and then into it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from cache_schema.common.errors import StoreError
from cache_schema.common.terminal.progress import Progress
from cache_schema.files.chunks.chunk import CHECKSUM
from cache_schema.files.disk.room import require_room, require_writable
from cache_schema.files.disk.whole import appears_whole, require_free
from cache_schema.files.remote.urls import is_url
from cache_schema.format.canonical import canonical_json, sha256_json
from cache_schema.format.digests.digest import volume_digest
from cache_schema.format.header import Header
from cache_schema.format.identity import VolumeKey
from cache_schema.format.layout import failure_name
from cache_schema.format.metadata import plain_layouts
from cache_schema.format.record import VolumeRecord
from cache_schema.move.copying import whole_volume
from cache_schema.move.merging.content import Content, Kept
from cache_schema.move.new_store import FolderSink, NewStore
from cache_schema.store.numerics import numerics_of
from cache_schema.store.reader import StoreReader
from cache_schema.store.withdrawn import encode_tombstone

BESIDE_BYTES = 100_000
"""Of a volume's record, which is written twice, and its preview; more than most have."""


@dataclass(slots=True)
class Written:
    """What became of it."""

    content_digest: str = ""
    lookalikes: list[tuple[VolumeKey, VolumeKey]] = field(default_factory=list)
    """Volumes of two participants that come from one file or hold the same numbers."""
    _seen: dict[str, VolumeKey] = field(default_factory=dict)

    def look(self, record: VolumeRecord) -> None:
        """Remember what would tell a volume from another's."""
        marks = (f"file {record.source.sha256}", f"numbers {sha256_json(record.tokens)}")
        others = {self._seen.setdefault(mark, record.key) for mark in marks}
        for other in sorted(others):
            if other.participant_id != record.participant_id:
                self.lookalikes.append((other, record.key))


def require_place(locations: Sequence[str], out: str) -> None:
    """Refuse a place that cannot become a folder store, before anything is read.

    Raises:
        StoreError: If it is no folder's name, taken, or inside one of the stores.
        MachineError: If it cannot be written to.
    """
    if out.endswith((".h5", ".hdf5", ".zip")) or is_url(out):
        raise StoreError(f"{out!r}: what is made is a folder; give it a name such as cache.zarr")
    target = Path(out).expanduser().absolute()
    require_free(target)
    for location in locations:
        if not is_url(location) and target.is_relative_to(Path(location).expanduser().absolute()):
            raise StoreError(f"{out!r} lies inside the store {location!r}: choose a place beside it")
    require_writable(target.parent, "the folder of the new store")


def _require_room(content: Content, header: Header, out: str) -> None:
    """Hold what will be written against what the disk has left; chunks are counted with their pads."""
    layouts = plain_layouts(header, 0, 0).values()
    chunks = n_bytes = 0
    for kept in content.volumes.values():
        for layout in layouts:
            blocks = layout.blocks(kept.entry.n_slices)
            chunks, n_bytes = chunks + blocks, n_bytes + blocks * (layout.chunk_bytes + CHECKSUM.size)
    n = len(content.volumes)
    require_room(out, "the new store", n_bytes + n * BESIDE_BYTES, chunks + 2 * n)


def write_content(
    stores: Sequence[StoreReader],
    content: Content,
    header: Header,
    out: str,
    progress: Progress | None = None,
) -> Written:
    """Make a store of what was gathered; it appears whole at its name, or not at all.

    Raises:
        StoreError: If a volume is damaged, or somebody was withdrawn meanwhile.
    """
    _require_room(content, header, out)
    written = Written()
    keys = sorted(content.rows)
    slices = max(
        max(row.max_slices for row in content.rows.values()),
        max(kept.entry.n_slices for kept in content.volumes.values()),
    )
    with appears_whole(out) as path:
        made = NewStore(lambda layouts: FolderSink(path, layouts), header, len(keys), slices)
        for name, tombstone in content.tombstones.by_name.items():
            made.put(name, encode_tombstone(tombstone))
        for key, failure in sorted(content.failures.items()):
            made.put(failure_name(key), canonical_json(failure.model_dump(mode="json")))
        done = 0
        for row, key in enumerate(keys):
            if key not in content.volumes:
                continue
            _write(made, content.volumes[key], header, row, written)
            done += 1
            if progress is not None:
                progress(done, len(content.volumes))
        rows = [content.rows[key] for key in keys]
        written.content_digest = made.close(rows, seal=not content.pending)
        _require_unchanged(stores, content)
    return written


def _write(made: NewStore, kept: Kept, header: Header, row: int, written: Written) -> None:
    """Read one volume with its proofs, and write it."""
    store, entry = kept.store, kept.entry
    record = store.record(entry.key)
    numerics = numerics_of(store.header, record)
    names = [spec.name for spec in header.arrays]
    changes: dict[str, Any] = {"row": row, "numerics": None if numerics == header.numerics else numerics}
    if len(names) == len(store.header.arrays):
        arrays = whole_volume(store, entry)
    else:
        arrays = {name: store.read(name, [entry])[0] for name in names}
        changes |= _without_arrays(record, arrays)
    written.look(record)
    made.add(record.model_copy(update=changes), arrays, store.preview(entry.key))


def _without_arrays(record: VolumeRecord, arrays: dict[str, NDArray[Any]]) -> dict[str, Any]:
    """What a record says when the volume keeps some of its arrays."""
    return {
        "tokens": {name: record.tokens[name] for name in arrays if name in record.tokens},
        "arrays": {name: record.arrays[name] for name in arrays if name in record.arrays},
        "digest": volume_digest(record.key, arrays),
    }


def _require_unchanged(stores: Sequence[StoreReader], content: Content) -> None:
    """Whoever was withdrawn from a store after it was opened may have been copied.

    Raises:
        StoreError: If somebody was.
    """
    for store in stores:
        if not store.tombstones().by_name.keys() <= content.tombstones.by_name.keys():
            raise StoreError(f"somebody was withdrawn from {store.location!r} meanwhile; start again")
