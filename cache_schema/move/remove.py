"""Taking a participant out of a store for good, as a withdrawn consent asks.

Records go first, so that no reader finds the volumes any more, and the table's rows last, so that a
removal that was killed can be run again and still knows what to take out. Row numbers stay taken.
"""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cache_schema.common.errors import StoreError
from cache_schema.files.locate import open_objects
from cache_schema.files.objects import TEMPORARY, LocalObjects
from cache_schema.files.remote.urls import require_folder_place
from cache_schema.files.shards import remove_from_shard, shard_names, shard_rows
from cache_schema.files.unfinished import is_orphan
from cache_schema.format.identity import VolumeKey
from cache_schema.format.layout import (
    SEALED_INDEX,
    ArrayLayout,
    failure_name,
    metadata_name,
    parse_layout,
    preview_name,
    record_name,
)
from cache_schema.store.commit import parse_raw, unseal
from cache_schema.store.create import load_header
from cache_schema.store.packed import (
    is_packed,
    packed_lines,
    put_lines,
    stored_records,
)
from cache_schema.store.previews import gathered_previews, put_gathered_previews
from cache_schema.store.seal import seal
from cache_schema.store.table import (
    VolumeTable,
    encode_segment,
    parse_segment,
    read_volume_table,
    segment_name,
)


@dataclass(frozen=True, slots=True)
class Removal:
    """What was taken out."""

    volumes: tuple[VolumeKey, ...]
    """All volumes of the participant, committed or not."""
    sealed: bool
    """Whether the store is sealed again."""


def remove_participant(location: str, participant: str) -> Removal:
    """Delete everything that a store holds of a participant, and withdraw its rows.

    Gone afterwards: chunks, records, previews, failures, sealed copies, the table's rows, and what
    killed processes left unfinished. Nobody may write to the store meanwhile. A removal that was killed
    is finished by running it again.

    Raises:
        StoreError: If the store is no folder, has no such participant, or is being written to.
    """
    require_folder_place(location, "remove")
    objects = open_objects(location)
    if objects is None:
        raise StoreError(f"there is no store at {location!r}")
    if not isinstance(objects, LocalObjects):
        raise StoreError(f"{location!r} is no folder; remove from the store it was made from, and copy again")
    header = load_header(objects, location)
    clear_unfinished(objects)
    table = read_volume_table(objects)
    keys = _volumes_of(objects, table, participant)
    if not keys:
        raise StoreError(f"{location!r} has no volume of participant {participant!r}")
    rows = {table.index[key] for key in keys if key in table.index}
    layouts = [parse_layout(spec, objects.get(metadata_name(spec.name))) for spec in header.arrays]
    packed = is_packed(objects)
    sealed = packed or objects.get(SEALED_INDEX) is not None
    unseal(objects)
    if packed:
        _remove_gathered(objects, keys)
    for key in keys:
        for name in (record_name(key), failure_name(key), preview_name(key)):
            objects.delete(name)
    for layout in layouts:
        _remove_data(objects, layout, rows)
    withdraw(objects, set(keys))
    if sealed:
        seal(location)
    return Removal(tuple(sorted(keys)), sealed)


def _volumes_of(objects: LocalObjects, table: VolumeTable, participant: str) -> set[VolumeKey]:
    """All volumes of a participant that the table or a record knows."""
    keys = {key for key in table.index if key.participant_id == participant}
    for name, data in stored_records(objects):
        raw = parse_raw(data, name)
        if raw.get("participant_id") == participant:
            keys.add(VolumeKey(participant, raw["session_id"], raw["volume_id"]))
    return keys


def clear_unfinished(objects: LocalObjects) -> None:
    """Delete what killed processes of this host left unfinished, in the store and beside it.

    Raises:
        StoreError: If something unfinished belongs to a process that lives, or to another host.
    """
    for path in _unfinished(objects.root):
        if not is_orphan(str(path)):
            raise StoreError(
                f"{str(path)!r} is an unfinished write: stop what writes to the store, or delete that "
                "by hand if nothing does, and run this again"
            )
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _unfinished(root: Path) -> Iterator[Path]:
    """Unfinished files and folders, of whomever."""
    for folder, _, names in os.walk(root):
        for name in names:
            if name.startswith(".") or Path(folder) == root / TEMPORARY:
                yield Path(folder) / name
    whole = root.absolute()
    yield from sorted(whole.parent.glob(f".{whole.name}.*~*~*~*"))


def _remove_gathered(objects: LocalObjects, keys: set[VolumeKey]) -> None:
    """Take volumes out of a packed store's records and previews."""
    digests = {key.digest for key in keys}
    put_lines(objects, {d: line for d, line in packed_lines(objects).items() if d not in digests})
    kept = ((digest, png) for digest, png in gathered_previews(objects) if digest not in digests)
    put_gathered_previews(objects, kept)


def _remove_data(objects: LocalObjects, layout: ArrayLayout, rows: set[int]) -> None:
    """Delete the chunks of rows from an array.

    Raises:
        StoreError: If the array is stored in a way that this program does not write.
    """
    name = layout.spec.name
    if layout.shard_volumes:
        for shard in shard_names(objects, layout):
            mine = rows & set(shard_rows(layout, shard))
            if mine:
                remove_from_shard(objects, layout, shard, mine)
        return
    if not layout.plain:
        raise StoreError(f"array {name!r} is coded otherwise than this program writes; it can only be read")
    prefixes = {f"c.{row}" for row in rows}
    for stored in objects.list(name):
        if ".".join(stored.removeprefix(f"{name}/").split(".")[:2]) in prefixes:
            objects.delete(stored)


def withdraw(objects: LocalObjects, keys: set[VolumeKey]) -> None:
    """Turn the table's rows of volumes into null; the rows' numbers are never given again."""
    for number in range(read_volume_table(objects).segments):
        name = segment_name(number)
        segment = parse_segment(objects.get(name) or b"", name)
        rows = [None if row is not None and row.key in keys else row for row in segment.rows]
        if tuple(rows) != segment.rows:
            objects.put(name, encode_segment(segment.first_row, segment.slices, rows))
