"""What a check says besides: nothing is wrong with it, and somebody may want to know."""

from collections.abc import Mapping, Sequence

from cache_schema.common.problem import WRITE_AGAIN
from cache_schema.files.disk.unfinished import is_held, unfinished_in
from cache_schema.files.objects import LocalObjects, Objects
from cache_schema.format.header import Header
from cache_schema.format.layout import ArrayLayout
from cache_schema.store.extents import wanted_extents
from cache_schema.store.table import VolumeTable
from cache_schema.verify.records import SoundRecord


def pending_notes(table: VolumeTable | None, records: Sequence[SoundRecord]) -> tuple[str, ...]:
    """How many volumes of the table are not committed."""
    if table is None:
        return ()
    pending = table.index.keys() - {record.key for record in records}
    if not pending:
        return ()
    return (f"{len(pending)} of {len(table.index)} volumes of the table are not committed",)


def extent_notes(
    header: Header, layouts: Mapping[str, ArrayLayout], table: VolumeTable | None
) -> tuple[str, ...]:
    """Arrays that do not cover the table yet: an append was interrupted before anything was committed."""
    wanted = (0, 0) if table is None else wanted_extents(header, table)
    return tuple(
        f"array {name!r} does not cover the table yet: {WRITE_AGAIN}"
        for name, layout in layouts.items()
        if layout.shape[0] < wanted[0] or layout.shape[1] < wanted[1]
    )


def unfinished_notes(objects: Objects) -> tuple[str, ...]:
    """What writers left unfinished that are gone, or run where nobody here can ask."""
    if not isinstance(objects, LocalObjects):
        return ()
    left = [str(path) for path in unfinished_in(objects.root) if not is_held(path)]
    if not left:
        return ()
    return (
        f"{len(left)} unfinished files that nobody on this machine works on, the first {left[0]!r}: the next "
        "extraction sweeps those of this machine's dead processes; when none runs anywhere, delete the rest",
    )
