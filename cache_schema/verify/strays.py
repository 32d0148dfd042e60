"""Objects that no committed volume accounts for: data, previews and failures without their owner."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from cache_schema.common.problem import DELETE_IT, EXTRACT_OR_REMOVE, Problem
from cache_schema.files.chunks.shards import sharded_rows
from cache_schema.files.objects import Objects
from cache_schema.format.layout import FAILURES, PREVIEWS, WORKERS, ArrayLayout, failure_name, metadata_name
from cache_schema.store.table import VolumeTable
from cache_schema.verify.records import SoundRecord
from cache_schema.workers.heard import heard, is_torn


def check_strays(
    objects: Objects,
    layouts: Mapping[str, ArrayLayout],
    table: VolumeTable | None,
    records: Sequence[SoundRecord],
) -> list[Problem]:
    """Name data without a record, and whatever else belongs to nobody.

    Data of a volume that is being written right now are data without a record, too: a store is best
    checked when nobody writes.
    """
    problems: list[Problem] = []
    for name, layout in layouts.items():
        problems += check_array(objects, name, layout, table, {record.row for record in records})
    if table is not None:
        problems += check_side_objects(objects, table, records)
    return problems


def check_array(
    objects: Objects, name: str, layout: ArrayLayout, table: VolumeTable | None, committed: set[int]
) -> Iterator[Problem]:
    """Chunks of rows that have no record, and objects that are no chunks."""
    rows: dict[int, int] = defaultdict(int)
    if layout.shard_volumes:
        rows.update(sharded_rows(objects, layout))
    else:
        pattern = re.compile(rf"c\.(\d+)\.(\d+){re.escape('.0' * len(layout.spec.item_shape))}")
        for stored in objects.list(name):
            match = pattern.fullmatch(stored.removeprefix(f"{name}/"))
            if match:
                rows[int(match[1])] += 1
            elif stored != metadata_name(name) and layout.plain:
                yield Problem("", name, f"{stored} is no chunk of this array", DELETE_IT)
    for row in sorted(rows.keys() - committed):
        text = f"data without a record: {rows[row]} chunk{'s' if rows[row] > 1 else ''} in row {row}"
        yield Problem(volume_of_row(row, table), name, text, EXTRACT_OR_REMOVE)


def volume_of_row(row: int, table: VolumeTable | None) -> str:
    """The volume of a row as the table knows it."""
    if table is None or row >= len(table.rows):
        return f"row {row}, which the table does not have"
    owner = table.rows[row]
    return f"row {row}, which was withdrawn" if owner is None else str(owner.key)


def check_side_objects(
    objects: Objects, table: VolumeTable, records: Sequence[SoundRecord]
) -> Iterator[Problem]:
    """Previews of volumes that the table does not have, and failures of committed ones.

    A failure needs no row: a volume that planning refuses never gets one.
    """
    known = {key.digest for key in table.index}
    for stored in objects.list(PREVIEWS):
        if stored.rpartition("/")[2].partition(".")[0] not in known:
            text = f"{stored} is a preview of a volume that the table does not have"
            yield Problem("", PREVIEWS, text, DELETE_IT)
    failures = set(objects.list(FAILURES))
    for record in records:
        if failure_name(record.key) in failures:
            text = "it is committed, and noted as failed as well"
            yield Problem(str(record.key), FAILURES, text, f"delete {failure_name(record.key)}")
    for stored, beat in heard(objects):
        if beat is None and not is_torn(objects, stored):
            yield Problem("", WORKERS, f"{stored} is no heartbeat of a worker", DELETE_IT)
