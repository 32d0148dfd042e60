"""Nothing of somebody who was withdrawn may be in a store: no record, no row of the table, no failure."""

from collections.abc import Sequence

from cache_schema.common.errors import StoreError
from cache_schema.common.problem import REMOVE_AGAIN, Problem
from cache_schema.files.objects import Objects
from cache_schema.format.layout import WITHDRAWN
from cache_schema.store.commit import read_failures
from cache_schema.store.table import VolumeTable
from cache_schema.store.withdrawn import DAMAGED, read_tombstones
from cache_schema.verify.records import SoundRecord


def check_withdrawn(
    objects: Objects, table: VolumeTable | None, records: Sequence[SoundRecord]
) -> list[Problem]:
    """Tombstones must be readable, and nobody who has one may be anywhere else."""
    try:
        tombstones = read_tombstones(objects)
    except StoreError as error:
        return [Problem("", WITHDRAWN, str(error).removesuffix(f"; {DAMAGED}"), DAMAGED)]
    if not len(tombstones):
        return []
    try:
        failures = read_failures(objects)
    except StoreError:  # named by its own check
        failures = ()
    found = [(record.key, "record") for record in records]
    found += [(row.key, "table") for row in (() if table is None else table.volumes())]
    found += [(failure.key, "failures") for failure in failures]
    return [
        Problem(str(key), part, "the participant was withdrawn, and this is still there", REMOVE_AGAIN)
        for key, part in found
        if tombstones.hold(key.participant_id)
    ]
