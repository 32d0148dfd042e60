"""Writing a store: any number of processes at once, each volume by one of them, killed at will.

A volume is committed in one order only: its data, then its record in one atomic put, each when what
came before it is on the disk. What was written without a record is not there for any reader, and is written
again.

What it rests on is asked for before a write and after it (`guard.py`).
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from cache_schema.common.errors import StoreError
from cache_schema.files.chunks.chunk import write_volume
from cache_schema.files.locate import open_writable
from cache_schema.files.remote.bucket import Bucket
from cache_schema.files.remote.objects import get_all
from cache_schema.files.remote.urls import is_url, require_place
from cache_schema.files.writable import Writable
from cache_schema.format.canonical import canonical_json
from cache_schema.format.header import Header, Numerics
from cache_schema.format.identity import VolumeKey
from cache_schema.format.layout import (
    ArrayLayout,
    failure_name,
    metadata_name,
    parse_layout,
    preview_name,
    record_name,
)
from cache_schema.format.numerics import FixedNumerics, completed
from cache_schema.format.record import Failure, TableRow, VolumeDraft, VolumeRecord
from cache_schema.store.check_volume import check_volume
from cache_schema.store.commit import (
    encode_record,
    parse_record,
    read_failure,
    read_failures,
    read_record,
    unseal,
)
from cache_schema.store.create import (
    create_store,
    read_header,
    require_same,
    stored_header_hash,
    sweep_siblings,
)
from cache_schema.store.extents import ensure_extents
from cache_schema.store.numerics import fix, read_fixed
from cache_schema.store.packed import is_packed, require_unpacked
from cache_schema.store.table import VolumeTable, append_rows
from cache_schema.store.writing.create_in_bucket import create_in_bucket
from cache_schema.store.writing.drafts import draft_record, stored_arrays
from cache_schema.store.writing.give_rows import give_rows
from cache_schema.store.writing.guard import Guard

ATTEMPTS = 3
"""To commit a volume that a twin, with other numbers, commits at the same moment."""


class StoreWriter:
    """A store opened for writing; open it with `StoreWriter.open`."""

    def __init__(self, location: str, objects: Writable, header: Header, table: VolumeTable) -> None:
        """Hold an opened store."""
        self.location = location
        self.header = header
        self._objects = objects
        self._guard = Guard(objects, location, table)
        self.at_once = objects.at_once
        """Volumes that several threads may commit at a time."""

    @classmethod
    def open(
        cls, location: str, header: Header, rows: Sequence[TableRow], *, durable: bool = True
    ) -> "StoreWriter":
        """Create a store or open the one that is there, and give every new volume a row.

        The store's own header is obeyed afterwards (`created` and `slice_chunk` may differ from what
        was asked). The seal is taken off, extents are made to cover the table, and unfinished writes
        of dead processes are swept.

        Args:
            location: A folder, or a place in a bucket; the store is created when absent.
            header: What is asked for: fingerprint, numerics and arrays must equal the store's.
            rows: Volumes that will be written; those that have a row keep it. Whoever was withdrawn gets
                none.
            durable: Whether a commit waits for the disk, so that no power failure takes it back.

        Raises:
            StoreMismatch: If the store was made otherwise, naming each field with both values.
            StoreError: If the place cannot be written or holds something else.
        """
        require_place(location, "extract")
        if location.endswith((".zip", ".h5", ".hdf5")):
            raise StoreError(f"{location!r}: stores are written to a folder, and copied or exported from it")
        found = read_header(location)
        if found is None:
            if is_url(location):
                create_in_bucket(location, header, rows)
            else:
                create_store(location, header, rows, durable=durable)
            found = read_header(location)
        objects = open_writable(location, "extract")
        if found is None or objects is None:
            raise StoreError(f"the store {location!r} was deleted while it was opened")
        objects.durable = durable
        require_same(location, header, found)
        objects.sweep()
        if not is_url(location):
            sweep_siblings(location)
        return cls(location, objects, found, give_rows(objects, location, found, rows))

    @property
    def rows(self) -> Mapping[VolumeKey, int]:
        """Row of every volume in the table."""
        return self._guard.rows

    def fixed_numerics(self) -> FixedNumerics | None:
        """By which arithmetic, and on which kind of device, volumes are embedded; None while nobody has."""
        return read_fixed(self._objects, stored_header_hash(self._objects))

    def fix_numerics(self, numerics: Numerics, device: str, made: Mapping[str, Any]) -> FixedNumerics:
        """Say by which arithmetic this store is embedded, or learn what somebody else has said first.

        Args:
            numerics: With nothing left open.
            device: Kind of device.
            made: Provenance.
        """
        header_sha256 = stored_header_hash(self._objects)
        wanted = FixedNumerics(numerics=numerics, device=device, header_sha256=header_sha256, made=dict(made))
        found = fix(self._objects, wanted)
        self.header = completed(self.header, found)
        self._guard.fixed = found
        return found

    def record(self, key: VolumeKey) -> VolumeRecord | None:
        """The committed record of a volume, or None.

        Raises:
            StoreError: If there is one that does not match its own hash.
        """
        return read_record(self._objects, key)

    def records(self, keys: Iterable[VolumeKey]) -> Iterator[VolumeRecord | None]:
        """The committed records of volumes, in their order; from a bucket many at a time.

        Raises:
            StoreError: If one does not match its own hash.
        """
        keys = list(keys)
        if not isinstance(self._objects, Bucket):
            yield from map(self.record, keys)
            return
        names = {record_name(key): key for key in keys}
        for name, data in get_all(self._objects, names):
            yield None if data is None else parse_record(data, f"{name} ({names[name]})")

    def is_sound(self, key: VolumeKey) -> bool:
        """Whether what the store holds of a volume is as it was committed; true when it holds nothing."""
        try:
            record = self.record(key)
            if record is None:
                return True
            layouts = self._layouts()
        except StoreError:
            return False
        return not check_volume(self._objects, layouts, record)[0]

    def failure(self, key: VolumeKey) -> Failure | None:
        """Why a volume failed, or None."""
        return read_failure(self._objects, key)

    def failures(self) -> list[Failure]:
        """All failures, sorted by key."""
        return list(read_failures(self._objects))

    def commit(
        self, draft: VolumeDraft, arrays: Mapping[str, NDArray[Any]], preview: bytes | None = None
    ) -> VolumeRecord:
        """Write one volume's arrays, then its record, and forget an earlier failure of it.

        A volume that is committed already stays as it is, and its record is returned: to replace it,
        `remove_record` comes first.

        Args:
            draft: What is known of the volume; `slices.index` says how many slices were kept.
            arrays: By name, exactly those of the header: kept slices only, `(slice, *item_shape)`,
                any float dtype; they are cast to the storage dtype here.
            preview: A small PNG of the slices as the backbone saw them.

        Raises:
            VolumeError: If a value is not finite or overflows the storage dtype.
            ParticipantWithdrawn: If the participant was withdrawn, be it only meanwhile; nothing is left.
            StoreError: If the volume has no row, or the arrays are not those of the header.
        """
        started = time.perf_counter()
        self._guard.refuse_withdrawn(draft.key)
        if draft.key not in self.rows:
            raise StoreError(f"volume {draft.key} has no row in the table of {self.location!r}")
        stored = stored_arrays(self.header, draft, arrays)
        record = draft_record(self.header, self.rows[draft.key], draft, stored)
        for attempt in range(ATTEMPTS):
            other = self.record(draft.key)
            if other is not None:
                if attempt == 0 or other.digest == record.digest:
                    return self._settle(other)
                # A twin committed other numbers (a GPU's last bits) while ours went over them.
                self.remove_record(draft.key)
            self._write(record, stored, preview)
            if attempt + 1 < ATTEMPTS and self.record(draft.key) is not None:
                continue
            seconds = draft.seconds | {"write": time.perf_counter() - started}
            signed = record.model_copy(update={"seconds": seconds}).signed()
            self._objects.put(record_name(draft.key), encode_record(signed))
            self._look_again(signed)
            if self._objects.exclusive or self._is_mine(signed):
                break
        return self._settle(signed)

    def remove_record(self, key: VolumeKey) -> None:
        """Take a volume's commit back; its data are overwritten by the next commit."""
        self._change()
        self._objects.delete(record_name(key))
        unseal(self._objects)

    def fail(self, failure: Failure) -> None:
        """Note that a volume could not be embedded, and why.

        Raises:
            ParticipantWithdrawn: If the participant was withdrawn; nothing is noted.
        """
        self._guard.refuse_withdrawn(failure.key)
        self._change()
        self._objects.put(failure_name(failure.key), canonical_json(failure.model_dump(mode="json")))
        if self._guard.is_withdrawn(failure.key):
            self._objects.delete(failure_name(failure.key))
        unseal(self._objects)
        self._guard.refuse_withdrawn(failure.key)

    def _is_mine(self, record: VolumeRecord) -> bool:
        """Whether no twin with other numbers put its record over this one, and maybe its data before."""
        other = self.record(record.key)
        return other is None or other.digest == record.digest

    def _look_again(self, record: VolumeRecord) -> None:
        """After the record was put: take everything back that should not be there."""
        self._guard.look_again(record, self._layouts)

    def _layouts(self) -> dict[str, ArrayLayout]:
        """How the arrays are stored now."""
        stored = get_all(self._objects, [metadata_name(spec.name) for spec in self.header.arrays])
        return {
            spec.name: parse_layout(spec, data)
            for spec, (_, data) in zip(self.header.arrays, stored, strict=True)
        }

    def _change(self) -> None:
        """Before any change: the store must not be packed, and its seal is taken off."""
        require_unpacked(self._objects, self.location)
        unseal(self._objects)

    def _write(self, record: VolumeRecord, stored: Mapping[str, NDArray[Any]], preview: bytes | None) -> None:
        """Write everything of a volume but its record, and make sure that the arrays cover it."""
        self._change()
        n = len(record.slices.index)
        if n > self._guard.table.slices:
            append_rows(self._objects, (), slices=n, known=self._guard.table)
        self._guard.table = ensure_extents(self._objects, self.header, self._guard.table)
        self._guard.require_row(record)
        with self._objects.together():
            write_volume(self._objects, self._layouts(), record.row, stored)
            if preview is None:
                self._objects.delete(preview_name(record.key))
            else:
                self._objects.put(preview_name(record.key), preview)
        # Once more: a process that was slower may have put older extents back meanwhile.
        self._guard.table = ensure_extents(self._objects, self.header, self._guard.table)

    def _settle(self, record: VolumeRecord) -> VolumeRecord:
        """After a commit: no seal made meanwhile may hide it, and no failure contradicts it."""
        if not is_packed(self._objects):
            unseal(self._objects)
            self._objects.delete(failure_name(record.key))
        return record
