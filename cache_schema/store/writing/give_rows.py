"""Rows for the volumes that a writer is going to write, as it opens the store."""

from collections.abc import Sequence

from cache_schema.files.writable import Writable
from cache_schema.format.header import Header
from cache_schema.format.layout import TABLE
from cache_schema.format.record import TableRow
from cache_schema.store.commit import unseal
from cache_schema.store.extents import ensure_extents
from cache_schema.store.packed import require_unpacked
from cache_schema.store.table import VolumeTable, append_rows, read_volume_table
from cache_schema.store.withdrawn import read_tombstones, withdraw_rows


def give_rows(objects: Writable, location: str, header: Header, rows: Sequence[TableRow]) -> VolumeTable:
    """Give every new volume a row but those of participants who were withdrawn; the table afterwards.

    Raises:
        StoreError: If there are new ones and the store is packed, or its table is damaged.
    """
    tombstones, known = read_tombstones(objects), read_volume_table(objects)
    rows = [row for row in rows if not tombstones.hold(row.participant_id)]
    if any(row.key not in known.index for row in rows):
        require_unpacked(objects, location)
    table = append_rows(objects, rows, known=known)
    objects.keep(TABLE)  # rows that somebody else has just given rest on a name, too
    tombstones = read_tombstones(objects, tombstones)
    if any(tombstones.hold(row.participant_id) for row in rows):
        withdraw_rows(objects)
    if table.segments > known.segments:
        unseal(objects)
    return ensure_extents(objects, header, table)
