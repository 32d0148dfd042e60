"""Array extents follow the volume table, whoever appends to it and whenever.

The table is the truth and extents are derived from it, so no lock is needed: a process that writes
stale extents reads the table again afterwards and repairs them, and so does every later writer.
"""

from cache_schema.common.errors import StoreError
from cache_schema.common.stored_json import read_object
from cache_schema.files.objects import Objects
from cache_schema.files.remote.objects import get_all
from cache_schema.format.canonical import canonical_json
from cache_schema.format.header import ArraySpec, Header
from cache_schema.format.layout import metadata_name, parse_layout
from cache_schema.store.table import VolumeTable, read_volume_table

ROUNDS = 100


def wanted_extents(header: Header, table: VolumeTable) -> tuple[int, int]:
    """Volumes and slices that every array must cover."""
    return len(table.rows), max(table.slices, header.slice_chunk)


def ensure_extents(objects: Objects, header: Header, known: VolumeTable | None = None) -> VolumeTable:
    """Make every array cover the table; the table as it was last read (from `known` on).

    Extents never shrink. After any write both the table and the metadata are read again, until they
    agree, because another process may have appended rows or written older extents meanwhile.

    Raises:
        StoreError: If an array's metadata is missing or damaged, or the extents will not settle.
    """
    table = known or VolumeTable()
    for _ in range(ROUNDS):
        table = read_volume_table(objects, table)
        names = [metadata_name(spec.name) for spec in header.arrays]
        stored = [data for _, data in get_all(objects, names)]
        grown = [
            _grow(objects, header, spec, table, data)
            for spec, data in zip(header.arrays, stored, strict=True)
        ]
        if not any(grown):
            return table
    raise StoreError("the arrays' extents do not settle: another program is editing this store")


def _grow(objects: Objects, header: Header, spec: ArraySpec, table: VolumeTable, data: bytes | None) -> bool:
    """Enlarge one array's metadata when it falls short; whether it did."""
    layout = parse_layout(spec, data)
    volumes, slices = wanted_extents(header, table)
    if layout.shape[0] >= volumes and layout.shape[1] >= slices:
        return False
    meta = read_object(data or b"")
    meta["shape"] = [max(layout.shape[0], volumes), max(layout.shape[1], slices), *spec.item_shape]
    objects.put(metadata_name(spec.name), canonical_json(meta))
    return True
