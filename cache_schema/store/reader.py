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
from cache_schema.files.chunks import DamageError
from cache_schema.files.locate import open_objects
from cache_schema.files.objects import Objects
from cache_schema.files.read import read_some, read_volumes
from cache_schema.files.read_pieces import RowDamageError
from cache_schema.format.digest import content_digest
from cache_schema.format.header import Header
from cache_schema.format.identity import VolumeKey
from cache_schema.format.layout import ArrayLayout, metadata_name, parse_layout
from cache_schema.format.record import Failure, TableRow, VolumeRecord
from cache_schema.store.commit import parse_record, read_failures, read_record
from cache_schema.store.create import load_header, read_header
from cache_schema.store.entries import VolumeEntry
from cache_schema.store.listing import Listing, list_committed
from cache_schema.store.previews import stored_preview
from cache_schema.store.proofs import Proofs
from cache_schema.store.records import Records
from cache_schema.store.seal import read_sealed_records
from cache_schema.store.table import read_volume_table

__all__ = ["StoreReader", "VolumeEntry", "open_store", "read_header"]


def open_store(location: str | Path, prove: Prove = "crc32c") -> "StoreReader":
    """Open a store for reading.

    Args:
        location: A folder, a zip, an `.h5` or a URL.
        prove: What the first read of a volume's array is held to, besides the checksums of its chunks: the
            crc32c in its record, which is nearly free, or the SHA-256.

    Raises:
        StoreError: If nothing is there, it is no store, or its header or a record is damaged.
    """
    text = str(location)
    objects = open_objects(text)
    if objects is None:
        raise StoreError(f"there is no store at {text!r}; `slicecache extract` makes one")
    header = load_header(objects, text)
    return StoreReader(text, objects, header, list_committed(objects, header), prove)


class StoreReader:
    """A store opened for reading; open it with `open_store`."""

    def __init__(
        self,
        location: str,
        objects: Objects,
        header: Header,
        listing: Listing,
        prove: Prove = "crc32c",
    ) -> None:
        """Hold an opened store."""
        self.location = location
        self.header = header
        self.entries = listing.entries
        """Committed volumes, sorted by key."""
        self.sealed = listing.sealed
        self.prove: Prove = prove
        self._objects = objects
        self._layouts: dict[str, ArrayLayout] = {}
        self._proofs = Proofs(location, header.arrays, listing, prove, self.record, self._read_whole)

    def entry(self, key: VolumeKey) -> VolumeEntry:
        """The entry of a committed volume.

        Raises:
            StoreError: If it is not committed.
        """
        place = self.entries.find(key)
        if place is None:
            raise StoreError(f"volume {key} is not committed in {self.location!r}")
        return self.entries[place]

    def record(self, key: VolumeKey) -> VolumeRecord:
        """The commit record of a volume.

        Raises:
            StoreError: If the volume is not committed, or its record is damaged.
        """
        entry = self.entry(key)
        record = read_record(self._objects, key)
        if record is None or record.digest != entry.digest:
            raise StoreError(f"the record of {key} changed since {self.location!r} was opened; open it again")
        return record

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
            return parse_record(lines[place], f"of {self.entries[place].key}")

        return Records(len(lines), parsed)

    def failures(self) -> tuple[Failure, ...]:
        """Volumes that could not be embedded, sorted by key."""
        return read_failures(self._objects)

    def table(self) -> tuple[TableRow, ...]:
        """Every volume that has a row, committed or not, in row order."""
        return read_volume_table(self._objects).volumes()

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

    def preview(self, key: VolumeKey) -> bytes | None:
        """The PNG mosaic of a volume, or None when there is none."""
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
