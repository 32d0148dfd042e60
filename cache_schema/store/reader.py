"""Reading a store: committed volumes only, a whole cohort as one contiguous array, proven as it is read.

The same reader opens a folder, a zip, an `.h5` and a URL.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache_schema.common.errors import StoreError
from cache_schema.common.prove import Prove
from cache_schema.files.chunks.chunk import DamageError
from cache_schema.files.chunks.pieces import RowDamageError
from cache_schema.files.chunks.read import read_some, read_volumes
from cache_schema.files.locate import open_objects
from cache_schema.files.objects import Objects, Stamp
from cache_schema.format.digests.digest import content_digest
from cache_schema.format.header import Header
from cache_schema.format.identity import VolumeKey
from cache_schema.format.layout import ArrayLayout, metadata_name, parse_layout
from cache_schema.format.numerics import FixedNumerics
from cache_schema.format.record import Failure, TableRow, VolumeRecord
from cache_schema.store.commit import parse_record, read_failures, read_record
from cache_schema.store.create import load_header, read_header, stored_header_hash
from cache_schema.store.numerics import numerics_of, read_fixed, require_fixed
from cache_schema.store.previews import stored_preview
from cache_schema.store.reading.entries import VolumeEntry
from cache_schema.store.reading.exchanged import EXCHANGES, stamp_of, steady
from cache_schema.store.reading.listing import Listing, leave_out, limited, list_committed
from cache_schema.store.reading.proofs import Proofs
from cache_schema.store.reading.records import Records
from cache_schema.store.reading.unlisted import with_names
from cache_schema.store.seal import read_sealed_records
from cache_schema.store.table import read_volume_table
from cache_schema.store.withdrawn import Tombstones, read_tombstones

__all__ = ["StoreReader", "VolumeEntry", "open_store", "read_header"]


def open_store(
    location: str | Path, prove: Prove = "crc32c", only: frozenset[VolumeKey] | None = None
) -> "StoreReader":
    """Open a store for reading.

    Args:
        location: A folder, a zip, an `.h5` or a URL.
        prove: What the first read of a volume's array is held to, besides the checksums of its chunks: the
            crc32c in its record, which is nearly free, or the SHA-256.
        only: Volumes that are looked at, as if the store had no others; all by default.

    Raises:
        StoreError: If nothing is there, it is no store, or its header or a record is damaged.
    """
    for _ in range(EXCHANGES):
        reader = _open(str(location), prove, only)
        if reader.is_current():  # else it was packed or unpacked while it was being opened
            break
    return reader


def _open(text: str, prove: Prove, only: frozenset[VolumeKey] | None) -> "StoreReader":
    """Open a store as it lies there."""
    objects = open_objects(text)
    if objects is None:
        raise StoreError(f"there is no store at {text!r}; `slicecache extract` makes one")
    stamp = stamp_of(objects)
    header = load_header(objects, text)
    objects = with_names(objects)
    listing = list_committed(objects, header)
    require_fixed(header, len(listing.entries), text)
    # A removal that was killed holds from its first step on.
    tombstones = read_tombstones(objects)
    listing = leave_out(listing, tombstones.hold)
    if only is not None:
        listing = limited(listing, only)
    return StoreReader(text, objects, header, listing, stamp, prove, only)


class StoreReader:
    """A store opened for reading; open it with `open_store`."""

    def __init__(
        self,
        location: str,
        objects: Objects,
        header: Header,
        listing: Listing,
        stamp: Stamp,
        prove: Prove = "crc32c",
        only: frozenset[VolumeKey] | None = None,
    ) -> None:
        """Hold an opened store."""
        self.location = location
        self.header = header
        self.entries = listing.entries
        """Committed volumes, sorted by key."""
        self.sealed = listing.sealed
        self.prove: Prove = prove
        self._objects, self._stamp, self._only = objects, stamp, only
        self._layouts: dict[str, ArrayLayout] = {}
        self._proofs = Proofs(location, header.arrays, listing, prove, self.record, self._read_whole)

    def is_current(self) -> bool:
        """Whether the folder that was opened still lies at the location."""
        return self._stamp == stamp_of(self._objects)

    def _reopen(self) -> None:
        """Go on with the other form of the same content that lies at the location now.

        Raises:
            StoreError: If it is other content.
        """
        now = open_store(self.location, only=self._only)
        if now.entries != self.entries or now.header != self.header:
            raise StoreError(
                f"{self.location!r} was replaced while it was read, by a store of other content: its content "
                f"digest is {now.content_digest()} and was {self.content_digest()}; open it again"
            )
        self._objects, self.sealed, self._layouts = now._objects, now.sealed, now._layouts
        self._stamp = now._stamp

    def entry(self, key: VolumeKey) -> VolumeEntry:
        """The entry of a committed volume.

        Raises:
            StoreError: If it is not committed.
        """
        place = self.entries.find(key)
        if place is None:
            raise StoreError(f"volume {key} is not committed in {self.location!r}")
        return self.entries[place]

    @steady
    def record(self, key: VolumeKey) -> VolumeRecord:
        """The commit record of a volume.

        Raises:
            StoreError: If the volume is not committed, or its record is damaged.
        """
        entry = self.entry(key)
        record = read_record(self._objects, key)
        if record is None or record.digest != entry.digest:
            raise StoreError(f"the record of {key} changed since {self.location!r} was opened; open it again")
        numerics_of(self.header, record)
        return record

    @steady
    def records(self) -> Sequence[VolumeRecord]:
        """All commit records, in the order of `entries`, each read when it is asked for.

        Raises:
            StoreError: Then, if it is damaged or changed since the store was opened.
        """
        if not self.sealed:
            return Records(len(self.entries), lambda place, _: self.record(self.entries[place].key))
        lines = read_sealed_records(self._objects, len(self.entries))

        def parsed(place: int, known: bool) -> VolumeRecord:
            if known:
                return VolumeRecord.model_validate_json(lines[place])
            record = parse_record(lines[place], f"of {self.entries[place].key}")
            numerics_of(self.header, record)
            return record

        return Records(len(lines), parsed)

    @steady
    def failures(self) -> tuple[Failure, ...]:
        """Volumes that could not be embedded, sorted by key."""
        tombstones = self.tombstones()
        found = (each for each in read_failures(self._objects) if self._looked_at(each.key))
        return tuple(each for each in found if not tombstones.hold(each.participant_id))

    @steady
    def table(self) -> tuple[TableRow, ...]:
        """Every volume that has a row and was not withdrawn, committed or not, in row order."""
        tombstones = self.tombstones()
        rows = (row for row in read_volume_table(self._objects).volumes() if self._looked_at(row.key))
        return tuple(row for row in rows if not tombstones.hold(row.participant_id))

    def _looked_at(self, key: VolumeKey) -> bool:
        """Whether a volume is one of those that are."""
        return self._only is None or key in self._only

    @steady
    def tombstones(self) -> Tombstones:
        """Who was withdrawn, by salted hash."""
        return read_tombstones(self._objects)

    @steady
    def fixed_numerics(self) -> FixedNumerics | None:
        """What the header left open, and on which kind of device that was settled; None where nothing was."""
        return read_fixed(self._objects, stored_header_hash(self._objects))

    def layout(self, name: str) -> ArrayLayout:
        """How an array is stored.

        Raises:
            StoreError: If the store has no such array.
        """
        if name not in self._layouts:
            specs = {spec.name: spec for spec in self.header.arrays}
            if name not in specs:
                raise StoreError(
                    f"{self.location!r} has no array {name!r}, only {', '.join(specs)}; extract with it in "
                    "`tokens`, to a store of its own"
                )
            self._layouts[name] = parse_layout(specs[name], self._objects.get(metadata_name(name)))
        return self._layouts[name]

    @steady
    def read(self, name: str, entries: Sequence[VolumeEntry] | None = None) -> NDArray[Any]:
        """Volumes of one array as one contiguous `(volume, slice, *rest)`, in the order given.

        Args:
            name: The array, e.g. `cls`.
            entries: Which volumes; all when None. The longest sets the slice axis, and slices beyond a
                volume's own are NaN.

        Raises:
            StoreError: If a chunk is missing or damaged, naming the volume and the array.
        """
        places = np.arange(len(self.entries)) if entries is None else self.entries.places(entries)
        rows, counts = self.entries.row[places], self.entries.n_slices[places]
        try:
            values, found = read_volumes(self._objects, self.layout(name), rows.tolist(), counts.tolist())
            self._proofs.hold_volumes(name, places, values, found)
        except RowDamageError as damage:
            raise _damaged(self.entries[places[damage.position]].key, name, damage) from damage
        return values

    def _read_whole(self, name: str, entry: VolumeEntry) -> NDArray[Any]:
        """Kept slices of one volume, held to the checksums of its chunks alone."""
        values, _ = read_volumes(self._objects, self.layout(name), [entry.row], [entry.n_slices])
        whole: NDArray[Any] = values[0]
        return whole

    def read_volume(self, name: str, key: VolumeKey) -> NDArray[Any]:
        """Kept slices of one volume, `(slice, *rest)`.

        Raises:
            StoreError: If it is not committed, or a chunk is missing or damaged.
        """
        volume: NDArray[Any] = self.read(name, [self.entry(key)])[0]
        return volume

    @steady
    def read_slices(
        self, name: str, entry: VolumeEntry, slices: Sequence[int] | NDArray[Any]
    ) -> NDArray[Any]:
        """Some kept slices of one volume, `(slice, *rest)`, reading only the chunks that hold them.

        Args:
            name: The array, e.g. `patches`.
            entry: The volume.
            slices: Positions among its kept slices, in any order; one may be asked for twice.

        Raises:
            StoreError: If a position is beyond the kept slices, or a chunk is missing or damaged.
        """
        layout, place = self.layout(name), int(self.entries.places([entry])[0])
        try:
            values, found = read_some(self._objects, layout, entry.row, entry.n_slices, slices)
            self._proofs.hold_blocks(layout, place, found)
        except DamageError as damage:
            raise _damaged(entry.key, name, damage) from damage
        return values

    @steady
    def preview(self, key: VolumeKey) -> bytes | None:
        """The PNG mosaic of a volume, or None when there is none.

        Raises:
            StoreError: If it is no PNG.
        """
        return stored_preview(self._objects, key)

    def content_digest(self) -> str:
        """SHA-256 over the committed volumes' keys and digests, whatever their order and rows."""
        return content_digest((entry.key, entry.digest) for entry in self.entries)


def _damaged(key: VolumeKey, name: str, damage: DamageError) -> StoreError:
    """Say which volume's chunk is damaged, and what to do."""
    return StoreError(
        f"volume {key}, array {name!r}: {damage}; `slicecache cache verify` lists all damage, and "
        "extracting that volume again with --replace repairs it"
    )
