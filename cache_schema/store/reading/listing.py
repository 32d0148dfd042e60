"""What is committed in a store, told by its sealed index or by the records themselves."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache_schema.common.errors import StoreError
from cache_schema.files.objects import Objects
from cache_schema.format.header import Header
from cache_schema.format.identity import VolumeKey
from cache_schema.format.layout import record_name
from cache_schema.store.commit import parse_raw
from cache_schema.store.packed import stored_records
from cache_schema.store.reading.entries import Entries
from cache_schema.store.seal import IndexRow, index_row, read_sealed_index

NONE = -1
"""In a column of checksums: the record has none, it is one of before they were kept."""


@dataclass(frozen=True, slots=True)
class Listing:
    """The committed volumes of a store."""

    entries: Entries
    crc32c: Mapping[str, NDArray[np.int64]]
    """By array, in the order of the entries: the checksum that the record states, or `NONE`."""
    sealed: bool


def list_committed(objects: Objects, header: Header) -> Listing:
    """List a store's volumes.

    Raises:
        StoreError: If the sealed index or a record is damaged, or they contradict themselves.
    """
    index = read_sealed_index(objects)
    names = [spec.name for spec in header.arrays]
    if index is None:
        return _list_records(objects, names)
    columns = (index.participant_id, index.session_id, index.volume_id, index.row, index.n_slices)
    entries = Entries(*columns, index.digest)
    crcs = {name: _column(index.crc32c.get(name, [None] * len(entries))) for name in names}
    if any(len(column) != len(entries) for column in crcs.values()):
        raise StoreError("the columns of the sealed index have different lengths; seal the store again")
    return Listing(entries, crcs, sealed=True)


def leave_out(listing: Listing, is_withdrawn: Callable[[str], bool]) -> Listing:
    """A listing without the volumes of withdrawn participants.

    A seal that knows somebody who was withdrawn is not right, and its records are not read.
    """
    names = listing.entries.participant_id
    return _part(listing, [place for place, name in enumerate(names) if not is_withdrawn(name)])


def limited(listing: Listing, only: Collection[VolumeKey]) -> Listing:
    """A listing of some volumes and no others; those that are not committed are none of it."""
    return _part(listing, [place for place, entry in enumerate(listing.entries) if entry.key in only])


def _part(listing: Listing, kept: list[int]) -> Listing:
    """Some places of a listing; the sealed records beside it are of all of them, so they are not read."""
    entries = listing.entries
    if len(kept) == len(entries):
        return listing

    def only(column: Sequence[str]) -> list[str]:
        return [column[place] for place in kept]

    left = Entries(
        only(entries.participant_id),
        only(entries.session_id),
        only(entries.volume_id),
        entries.row[kept].tolist(),
        entries.n_slices[kept].tolist(),
        only(entries.digest),
    )
    return Listing(left, {name: column[kept] for name, column in listing.crc32c.items()}, sealed=False)


def _list_records(objects: Objects, names: Sequence[str]) -> Listing:
    """List volumes by reading every record."""
    rows = [_row_of(parse_raw(data, name), name) for name, data in stored_records(objects)]
    rows.sort(key=lambda row: row.key)
    entries = Entries(
        (row.key.participant_id for row in rows),
        (row.key.session_id for row in rows),
        (row.key.volume_id for row in rows),
        [row.row for row in rows],
        [row.n_slices for row in rows],
        (row.digest for row in rows),
    )
    crcs = {name: _column(row.crc32c.get(name) for row in rows) for name in names}
    return Listing(entries, crcs, sealed=False)


def _row_of(raw: Mapping[str, Any], name: str) -> IndexRow:
    """What an index would say of a record.

    Raises:
        StoreError: If it lacks a field, or is the record of another volume than its name says.
    """
    try:
        row = index_row(raw)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise StoreError(f"record {name} lacks a field ({error!r})") from error
    if record_name(row.key) != name:
        raise StoreError(f"record {name} is that of volume {row.key}: it was copied or renamed")
    return row


def _column(crcs: Iterable[int | None]) -> NDArray[np.int64]:
    """Checksums as a column."""
    return np.array([NONE if crc is None else crc for crc in crcs], dtype=np.int64)
