"""Writing a store: any number of processes at once, each volume by one of them, killed at will.

A volume is committed in one order only: its data, then its record in one atomic put, each when what
came before it is on the disk. What was written without a record is not there for any reader, and is written
again.

Nothing of a participant who was withdrawn is written: tombstones are asked for before a write and after it.
A removal puts its tombstone before it deletes, so that one of the two always sees the other.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from cache_schema.common.errors import ParticipantWithdrawn, StoreError
from cache_schema.files.chunks.chunk import to_storage, write_volume
from cache_schema.files.locate import open_objects
from cache_schema.files.objects import LocalObjects
from cache_schema.files.remote.urls import require_folder_place
from cache_schema.format.canonical import canonical_json
from cache_schema.format.digests.digest import volume_digest
from cache_schema.format.digests.proof import prove_array
from cache_schema.format.digests.token_statistics import token_statistics
from cache_schema.format.header import Header, Numerics
from cache_schema.format.identity import VolumeKey
from cache_schema.format.layout import (
    TABLE,
    ArrayLayout,
    chunk_slices,
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
    read_failure,
    read_failures,
    read_record,
    take_back,
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
from cache_schema.store.table import VolumeTable, append_rows, read_volume_table
from cache_schema.store.withdrawn import Tombstones, read_tombstones, withdraw_rows


class StoreWriter:
    """A store opened for writing; open it with `StoreWriter.open`."""

    def __init__(self, location: str, objects: LocalObjects, header: Header, table: VolumeTable) -> None:
        """Hold an opened store."""
        self.location = location
        self.header = header
        self._objects = objects
        self._table = table
        self._tombstones = Tombstones()

    @classmethod
    def open(
        cls, location: str, header: Header, rows: Sequence[TableRow], *, durable: bool = True
    ) -> "StoreWriter":
        """Create a store or open the one that is there, and give every new volume a row.

        The store's own header is obeyed afterwards (`created` and `slice_chunk` may differ from what
        was asked). The seal is taken off, extents are made to cover the table, and unfinished writes
        of dead processes are swept.

        Args:
            location: A folder; it is created when absent.
            header: What is asked for: fingerprint, numerics and arrays must equal the store's.
            rows: Volumes that will be written; those that have a row keep it. Whoever was withdrawn gets
                none.
            durable: Whether a commit waits for the disk, so that no power failure takes it back.

        Raises:
            StoreMismatch: If the store was made otherwise, naming each field with both values.
            StoreError: If the place cannot be written or holds something else.
        """
        require_folder_place(location, "extract")
        if location.endswith((".zip", ".h5", ".hdf5")):
            raise StoreError(f"{location!r}: stores are written to a folder, and copied or exported from it")
        found = read_header(location)
        if found is None:
            create_store(location, header, rows, durable=durable)
            found = read_header(location)
        objects = open_objects(location)
        if found is None or not isinstance(objects, LocalObjects):
            raise StoreError(f"the store {location!r} was deleted while it was opened")
        objects.durable = durable
        require_same(location, header, found)
        tombstones, known = read_tombstones(objects), read_volume_table(objects)
        rows = [row for row in rows if not tombstones.hold(row.participant_id)]
        if any(row.key not in known.index for row in rows):
            require_unpacked(objects, location)
        objects.sweep()
        sweep_siblings(location)
        table = append_rows(objects, rows, known=known)
        objects.keep(TABLE)  # rows that somebody else has just given rest on a name, too
        tombstones = read_tombstones(objects, tombstones)
        if any(tombstones.hold(row.participant_id) for row in rows):
            withdraw_rows(objects)
        if table.segments > known.segments:
            unseal(objects)
        return cls(location, objects, found, ensure_extents(objects, found, table))

    @property
    def rows(self) -> Mapping[VolumeKey, int]:
        """Row of every volume in the table."""
        return self._table.index

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
        return found

    def record(self, key: VolumeKey) -> VolumeRecord | None:
        """The committed record of a volume, or None.

        Raises:
            StoreError: If there is one that does not match its own hash.
        """
        return read_record(self._objects, key)

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
        self._refuse_withdrawn(draft.key)
        stored = self._to_storage(draft, arrays)
        record = self._describe(draft, stored)
        for attempt in range(3):
            other = self.record(draft.key)
            if other is not None:
                if attempt == 0 or other.digest == record.digest:
                    return self._settle(other)
                # A twin committed other numbers (a GPU's last bits) while ours went over them.
                self.remove_record(draft.key)
            self._write(record, stored, preview)
            if self.record(draft.key) is None:
                break
        seconds = draft.seconds | {"write": time.perf_counter() - started}
        signed = record.model_copy(update={"seconds": seconds}).signed()
        self._objects.put(record_name(draft.key), encode_record(signed))
        self._look_again(signed)
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
        self._refuse_withdrawn(failure.key)
        self._change()
        self._objects.put(failure_name(failure.key), canonical_json(failure.model_dump(mode="json")))
        if self._is_withdrawn(failure.key):
            self._objects.delete(failure_name(failure.key))
        unseal(self._objects)
        self._refuse_withdrawn(failure.key)

    def _is_withdrawn(self, key: VolumeKey) -> bool:
        """Whether a volume's participant was withdrawn, as the store says now."""
        self._tombstones = read_tombstones(self._objects, self._tombstones)
        return self._tombstones.hold(key.participant_id)

    def _refuse_withdrawn(self, key: VolumeKey) -> None:
        """Before a write: nothing is written of a participant who was withdrawn."""
        if self._is_withdrawn(key):
            raise ParticipantWithdrawn(
                f"{key.participant_id!r} was withdrawn from {self.location!r}, so {key} is not written; "
                "`slicecache extract --readmit` takes a participant back"
            )

    def _look_again(self, record: VolumeRecord) -> None:
        """After the record was put: take everything back if the participant was withdrawn meanwhile.

        The tombstones are read before the table: whoever was withdrawn and taken back in between has none
        any more, but the row is gone.

        Raises:
            ParticipantWithdrawn: If so.
        """
        key = record.key
        withdrawn = self._is_withdrawn(key)
        self._table = read_volume_table(self._objects, self._table)
        if not withdrawn and self.rows.get(key) == record.row:
            return
        take_back(self._objects, self._layouts(), record, whosever=withdrawn)
        if withdrawn or key not in self.rows:
            self._objects.delete(preview_name(key))
            self._objects.delete(failure_name(key))
        self._refuse_withdrawn(key)
        raise ParticipantWithdrawn(
            f"the row of {key} in {self.location!r} was withdrawn while it was written; extract it again"
        )

    def _layouts(self) -> dict[str, ArrayLayout]:
        """How the arrays are stored now."""
        return {
            spec.name: parse_layout(spec, self._objects.get(metadata_name(spec.name)))
            for spec in self.header.arrays
        }

    def _change(self) -> None:
        """Before any change: the store must not be packed, and its seal is taken off."""
        require_unpacked(self._objects, self.location)
        unseal(self._objects)

    def _to_storage(self, draft: VolumeDraft, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Check a volume against the table and the header, and cast it."""
        names = {spec.name for spec in self.header.arrays}
        if arrays.keys() != names:
            raise StoreError(f"{draft.key}: the store needs {sorted(names)}, not {sorted(arrays)}")
        if draft.key not in self.rows:
            raise StoreError(f"volume {draft.key} has no row in the table of {self.location!r}")
        n = len(draft.slices.index)
        if n == 0:
            raise StoreError(f"volume {draft.key} keeps no slice, so there is nothing to commit")
        return {spec.name: to_storage(spec, arrays[spec.name], n) for spec in self.header.arrays}

    def _describe(self, draft: VolumeDraft, stored: Mapping[str, NDArray[Any]]) -> VolumeRecord:
        """The record of a volume, not yet signed."""
        return VolumeRecord(
            **draft.model_dump(),
            row=self.rows[draft.key],
            tokens={spec.name: token_statistics(spec, stored[spec.name]) for spec in self.header.arrays},
            arrays={
                spec.name: prove_array(draft.key, spec, stored[spec.name], chunk_slices(self.header, spec))
                for spec in self.header.arrays
            },
            digest=volume_digest(draft.key, stored),
        )

    def _write(self, record: VolumeRecord, stored: Mapping[str, NDArray[Any]], preview: bytes | None) -> None:
        """Write everything of a volume but its record, and make sure that the arrays cover it."""
        self._change()
        n = len(record.slices.index)
        if n > self._table.slices:
            append_rows(self._objects, (), slices=n, known=self._table)
        self._table = ensure_extents(self._objects, self.header, self._table)
        with self._objects.together():
            write_volume(self._objects, self._layouts(), record.row, stored)
            if preview is None:
                self._objects.delete(preview_name(record.key))
            else:
                self._objects.put(preview_name(record.key), preview)
        # Once more: a process that was slower may have put older extents back meanwhile.
        self._table = ensure_extents(self._objects, self.header, self._table)

    def _settle(self, record: VolumeRecord) -> VolumeRecord:
        """After a commit: no seal made meanwhile may hide it, and no failure contradicts it."""
        if not is_packed(self._objects):
            unseal(self._objects)
            self._objects.delete(failure_name(record.key))
        return record
