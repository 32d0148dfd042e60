"""Taking a participant out of a store for good, as a withdrawn consent asks.

The tombstone goes first: from then on no reader sees the participant and no writer takes them. Then go the
records, and the table's rows last, so that a removal that was killed can be run again and still knows what
to take out. Row numbers stay taken.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cache_schema.common.errors import StoreError
from cache_schema.files.chunks.shards import remove_from_shard, shard_names, shard_rows
from cache_schema.files.disk.unfinished import sweep, unfinished_in
from cache_schema.files.locate import open_writable
from cache_schema.files.objects import LocalObjects, Objects
from cache_schema.files.remote.bucket import Bucket
from cache_schema.files.writable import Writable
from cache_schema.format.identity import VolumeKey, folded_id
from cache_schema.format.layout import (
    PREVIEWS,
    SEALED_INDEX,
    ArrayLayout,
    failure_name,
    metadata_name,
    parse_layout,
    preview_name,
    record_name,
)
from cache_schema.store.commit import parse_raw, read_failures, unseal
from cache_schema.store.create import load_header
from cache_schema.store.packed import (
    is_packed,
    packed_lines,
    put_lines,
    require_unpacked,
    stored_records,
)
from cache_schema.store.previews import gathered_previews, put_gathered_previews
from cache_schema.store.seal import seal
from cache_schema.store.table import VolumeTable, read_volume_table
from cache_schema.store.withdrawn import await_listed, bury, read_tombstones, withdraw_rows


@dataclass(frozen=True, slots=True)
class Removal:
    """What was taken out."""

    volumes: tuple[VolumeKey, ...]
    """All volumes of the participant, committed or not; none when they were withdrawn before."""
    sealed: bool
    """Whether the store is sealed again."""


def remove_participant(location: str, participant: str) -> Removal:
    """Delete everything that a store holds of a participant, and leave a tombstone that keeps them out.

    Gone afterwards: chunks, records, previews, failures, sealed copies, the table's rows, and what
    killed processes left unfinished. A removal that was killed is finished by running it again, and its
    tombstone holds meanwhile.

    Raises:
        StoreError: If the store is read only, has no such participant, or is being written to.
        MachineError: If a bucket does not list the tombstone for a minute.
    """
    objects = open_writable(location, "remove")
    if objects is None:
        raise StoreError(f"there is no store at {location!r}")
    header = load_header(objects, location)
    packed = is_packed(objects)
    if packed and isinstance(objects, Bucket):
        raise StoreError(f"{location!r} is packed: remove from the folder it was copied from, and copy again")
    known = read_tombstones(objects).hold(participant)
    if not known and not _volumes_of(objects, read_volume_table(objects), participant):
        raise StoreError(f"{location!r} has no volume of participant {participant!r}")
    bury(objects, participant)
    if isinstance(objects, LocalObjects):
        clear_unfinished(objects, participant)
    # Listed after the tombstone: who was faster than it is in the list, who was slower sees it.
    table = read_volume_table(objects)
    keys = _volumes_of(objects, table, participant)
    # Rows that were withdrawn before, too: a writer that was killed may have left data in them.
    rows = {row for row, owner in enumerate(table.rows) if owner is None or owner.key in keys}
    layouts = [parse_layout(spec, objects.get(metadata_name(spec.name))) for spec in header.arrays]
    sealed = packed or objects.get(SEALED_INDEX) is not None
    unseal(objects)
    if packed and isinstance(objects, LocalObjects):
        _remove_gathered(objects, keys)
    _remove_volumes(objects, keys, layouts, rows)
    withdraw_rows(objects)
    if isinstance(objects, Bucket):
        # Whoever did not see the tombstone yet has seen the rows go, or is taken out here.
        _remove_volumes(objects, keys, layouts, rows)
        await_listed(objects, participant)
    _remove_stray_previews(objects)
    unseal(objects)  # once more, for a seal that was made of what was there meanwhile
    if sealed:
        seal(location)
    return Removal(tuple(sorted(keys)), sealed)


def _remove_volumes(
    objects: Writable, keys: set[VolumeKey], layouts: Sequence[ArrayLayout], rows: set[int]
) -> None:
    """Delete everything by which volumes can be found, then their data."""
    with objects.together():
        for key in keys:
            for name in (record_name(key), failure_name(key), preview_name(key)):
                objects.delete(name)
    with objects.together():
        for layout in layouts:
            _remove_data(objects, layout, rows)


def _volumes_of(objects: Objects, table: VolumeTable, participant: str) -> set[VolumeKey]:
    """All volumes of a participant that the table, a failure or a record knows, in any spelling of the id."""

    def is_theirs(name: str) -> bool:
        return folded_id(name) == folded

    folded = folded_id(participant)
    keys = {key for key in table.index if is_theirs(key.participant_id)}
    keys |= {failure.key for failure in read_failures(objects) if is_theirs(failure.participant_id)}
    for name, data in stored_records(objects):
        raw = parse_raw(data, name)
        if is_theirs(raw["participant_id"]):
            keys.add(VolumeKey(raw["participant_id"], raw["session_id"], raw["volume_id"]))
    return keys


def clear_unfinished(objects: LocalObjects, participant: str) -> None:
    """Delete what killed processes of this host left unfinished, in the store and beside it.

    Raises:
        StoreError: If something unfinished belongs to a process that lives, or may live elsewhere.
    """
    for path in unfinished_in(objects.root):
        if not sweep(path):
            raise StoreError(
                f"{str(path)!r} is an unfinished write: stop what writes to the store, or delete that "
                f"by hand if nothing does, and run this again; {participant!r} is withdrawn already and is "
                "not embedded any more"
            )


def _remove_gathered(objects: LocalObjects, keys: set[VolumeKey]) -> None:
    """Take volumes out of a packed store's records and previews."""
    digests = {key.digest for key in keys}
    put_lines(objects, {d: line for d, line in packed_lines(objects).items() if d not in digests})
    kept = ((digest, png) for digest, png in gathered_previews(objects) if digest not in digests)
    put_gathered_previews(objects, kept)


def _remove_stray_previews(objects: Writable) -> None:
    """Delete previews that belong to no row: a writer that was killed may have left one."""
    known = {key.digest for key in read_volume_table(objects).index}
    for name in objects.list(PREVIEWS):
        if Path(name).stem not in known:
            objects.delete(name)


def _remove_data(objects: Writable, layout: ArrayLayout, rows: set[int]) -> None:
    """Delete the chunks of rows from an array.

    Raises:
        StoreError: If the array is stored in a way that this program does not write.
    """
    name = layout.spec.name
    if layout.shard_volumes and isinstance(objects, LocalObjects):
        for shard in shard_names(objects, layout):
            mine = rows & set(shard_rows(layout, shard))
            if mine:
                remove_from_shard(objects, layout, shard, mine)
        return
    if not layout.plain:
        raise StoreError(f"array {name!r} is coded otherwise than this program writes; it can only be read")
    if isinstance(objects, Bucket):
        for row in rows:
            for block in range(layout.blocks(layout.shape[1])):
                objects.delete(layout.chunk_name(row, block))
        return
    prefixes = {f"c.{row}" for row in rows}
    for stored in objects.list(name):
        if ".".join(stored.removeprefix(f"{name}/").split(".")[:2]) in prefixes:
            objects.delete(stored)


def readmit(location: str, participants: Sequence[str]) -> None:
    """Take participants back who were withdrawn: their tombstones go, and extractions embed them again.

    Raises:
        StoreError: If one was not withdrawn, or the store is packed or no folder; nothing is changed then.
    """
    objects = open_writable(location, "readmit")
    if objects is None:
        raise StoreError(f"there is no store at {location!r}, so nobody can be readmitted to it")
    require_unpacked(objects, location)
    tombstones = read_tombstones(objects)
    named = {participant: tombstones.names_of(participant) for participant in participants}
    for participant, names in named.items():
        if not names:
            raise StoreError(f"{participant!r} was not withdrawn from {location!r}; nothing is readmitted")
    for names in named.values():
        for name in names:
            objects.delete(name)
