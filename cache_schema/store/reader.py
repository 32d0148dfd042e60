"""Reading a store: committed volumes only, a whole cohort as one contiguous array.

The same reader opens a folder, a zip and a URL.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from numpy.typing import NDArray

from cache_schema.common.errors import StoreError
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
from cache_schema.store.commit import parse_raw, parse_record, read_failures, read_record
from cache_schema.store.create import load_header, read_header
from cache_schema.store.packed import stored_records
from cache_schema.store.previews import stored_preview
from cache_schema.store.seal import read_sealed_index, read_sealed_records
from cache_schema.store.table import read_volume_table

__all__ = ["StoreReader", "VolumeEntry", "open_store", "read_header"]


@dataclass(frozen=True, slots=True)
class VolumeEntry:
    """A committed volume: where it lies and how long it is."""

    key: VolumeKey
    row: int
    n_slices: int
    """Kept slices."""
    digest: str
    """Volume digest."""


def open_store(location: str | Path) -> "StoreReader":
    """Open a store for reading.

    Raises:
        StoreError: If nothing is there, it is no store, or its header or a record is damaged.
    """
    text = str(location)
    objects = open_objects(text)
    if objects is None:
        raise StoreError(f"there is no store at {text!r}; `slicecache extract` makes one")
    header = load_header(objects, text)
    index = read_sealed_index(objects)
    if index is None:
        entries = read_entries(objects)
    else:
        entries = [
            VolumeEntry(VolumeKey(*key), row, n, digest)
            for *key, row, n, digest in zip(
                index.participant_id,
                index.session_id,
                index.volume_id,
                index.row,
                index.n_slices,
                index.digest,
                strict=True,
            )
        ]
    refuse_double_places(entries, text)
    return StoreReader(text, objects, header, tuple(entries), sealed=index is not None)


def refuse_double_places(entries: Sequence[VolumeEntry], location: str) -> None:
    """Refuse a store in which two records are of one volume, or claim one row.

    Raises:
        StoreError: Naming the first.
    """
    keys: list[object] = [entry.key for entry in entries]
    rows: list[object] = [entry.row for entry in entries]
    for what, places in (("key", keys), ("row", rows)):
        if len(set(places)) < len(places):
            twice = next(place for place, count in Counter(places).items() if count > 1)
            raise StoreError(
                f"two records of {location!r} have the {what} {twice}; `slicecache cache verify` says more"
            )


def read_entries(objects: Objects) -> list[VolumeEntry]:
    """One entry per commit record, sorted by key.

    Raises:
        StoreError: If a record is damaged.
    """
    entries = []
    for name, data in stored_records(objects):
        entries.append(entry_of(parse_raw(data, name), name))
    return sorted(entries, key=lambda entry: entry.key)


def entry_of(raw: Mapping[str, Any], name: str) -> VolumeEntry:
    """The entry of a record's JSON data.

    Raises:
        StoreError: If it lacks a field.
    """
    try:
        key = VolumeKey(raw["participant_id"], raw["session_id"], raw["volume_id"])
        return VolumeEntry(key, int(raw["row"]), len(raw["slices"]["index"]), str(raw["digest"]))
    except (KeyError, TypeError, ValueError) as error:
        raise StoreError(f"record {name} lacks a field ({error!r})") from error


class StoreReader:
    """A store opened for reading; open it with `open_store`."""

    def __init__(
        self,
        location: str,
        objects: Objects,
        header: Header,
        entries: tuple[VolumeEntry, ...],
        *,
        sealed: bool,
    ) -> None:
        """Hold an opened store."""
        self.location = location
        self.header = header
        self.entries = entries
        """Committed volumes, sorted by key."""
        self.sealed = sealed
        self._objects = objects
        self._by_key = MappingProxyType({entry.key: entry for entry in entries})
        self._layouts: dict[str, ArrayLayout] = {}

    def entry(self, key: VolumeKey) -> VolumeEntry:
        """The entry of a committed volume.

        Raises:
            StoreError: If it is not committed.
        """
        if key not in self._by_key:
            raise StoreError(f"volume {key} is not committed in {self.location!r}")
        return self._by_key[key]

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

    def records(self) -> tuple[VolumeRecord, ...]:
        """All commit records, in the order of `entries`."""
        if self.sealed:
            lines = read_sealed_records(self._objects, len(self.entries))
            return tuple(
                parse_record(line, f"of {entry.key}") for entry, line in zip(self.entries, lines, strict=True)
            )
        return tuple(self.record(entry.key) for entry in self.entries)

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
        chosen = self.entries if entries is None else entries
        try:
            return read_volumes(
                self._objects, self.layout(name), [e.row for e in chosen], [e.n_slices for e in chosen]
            )
        except RowDamageError as damage:
            raise _damaged(chosen[damage.position].key, name, damage) from damage

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
        try:
            return read_some(self._objects, self.layout(name), entry.row, entry.n_slices, slices)
        except DamageError as damage:
            raise _damaged(entry.key, name, damage) from damage

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
