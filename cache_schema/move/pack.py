"""Packing a store into shards and unpacking it again: rebuilt beside, verified, then swapped.

The old store goes only after the new one has been read back whole and has the same content digest and
the same records. Nothing is ever changed in place, so a kill leaves the old store or the new one.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from cache_schema.common.errors import StoreError
from cache_schema.common.machine import machine_said
from cache_schema.common.stored_json import read_object
from cache_schema.common.terminal.progress import bar, counting
from cache_schema.files.chunks.chunk import encode, write_volume
from cache_schema.files.chunks.shards import write_shard
from cache_schema.files.disk.durable import sync_above, sync_tree
from cache_schema.files.disk.exchange import exchange, recover, replace_folder
from cache_schema.files.disk.room import require_fit
from cache_schema.files.disk.unfinished import held, new_folder
from cache_schema.files.locate import open_objects
from cache_schema.files.objects import LocalObjects, Objects
from cache_schema.files.remote.urls import require_folder_place
from cache_schema.format.canonical import canonical_json
from cache_schema.format.header import ArraySpec
from cache_schema.format.layout import (
    FAILURES,
    HEADER,
    NUMERICS,
    PLAIN_CODECS,
    PREVIEWS,
    WITHDRAWN,
    ArrayLayout,
    chunk_slices,
    item_bytes,
    metadata_name,
    parse_layout,
    shard_codecs,
)
from cache_schema.store.extents import wanted_extents
from cache_schema.store.packed import (
    is_packed,
    put_lines,
    put_mark,
    stored_records,
)
from cache_schema.store.previews import put_gathered_previews, stored_previews
from cache_schema.store.reader import StoreReader, open_store
from cache_schema.store.seal import require_complete, seal
from cache_schema.store.table import VolumeTable, encode_segment, read_volume_table, segment_name
from cache_schema.verify.verify import verify_store

SHARD_VOLUMES = 64
LARGE_SHARD_VOLUMES = 32
LARGE_VOLUME_BYTES = 16 * 1024 * 1024
"""Volumes of which one array takes more than this go 32 to a shard, so that a shard stays movable."""


def pack(location: str, out: str | None = None, shard_volumes: int | None = None) -> StoreReader:
    """Gather a complete store in few large files.

    Args:
        location: A folder store; with `out` also a zip or a URL.
        out: Where the packed store goes, which must be free; None puts it in the old one's place.
        shard_volumes: Volumes per shard; None chooses 64, or 32 for arrays with large volumes.

    Returns:
        The packed store, opened.

    Raises:
        StoreError: If the store is not complete, damaged, packed already, or is written to meanwhile.
    """
    return _rebuild(location, out, packed=True, shard_volumes=shard_volumes)


def unpack(location: str, out: str | None = None) -> StoreReader:
    """Give a packed store one file per volume again, so that it can be written to.

    Raises:
        StoreError: If it is not packed, or damaged.
    """
    return _rebuild(location, out, packed=False)


def _rebuild(
    location: str, out: str | None, *, packed: bool, shard_volumes: int | None = None
) -> StoreReader:
    """Build the other form beside, hold it against the old one, and put it in place."""
    for given in (location, out or location):
        require_folder_place(given, "pack" if packed else "unpack")
    place = Path(location if out is None else out).expanduser().absolute()
    recover(place)
    source = open_objects(location)
    if source is None:
        raise StoreError(f"there is no store at {location!r}")
    if out is None and not isinstance(source, LocalObjects):
        raise StoreError(f"{location!r} is no folder; say with --out where the result goes")
    if out is not None and place.exists():
        raise StoreError(f"{out!r} exists; say another place for --out, or delete it first")
    if is_packed(source) == packed:
        raise StoreError(f"{location!r} is {'packed already' if packed else 'not packed'}")
    require_fit(location, place, "the packed store" if packed else "the unpacked store")
    rebuilding = str(place.parent / f".{place.name}.rebuilding")
    with machine_said("write", place):
        place.parent.mkdir(parents=True, exist_ok=True)
    with machine_said("write", place), new_folder(rebuilding) as folder:
        before = _said(source)
        _build(source, location, folder, packed=packed, shard_volumes=shard_volumes)
        _require_equal(location, str(folder), before)
        sync_tree(folder)
        _put_in_place(folder, place, before)
    return open_store(place)


def _put_in_place(folder: Path, place: Path, before: dict[str, bytes]) -> None:
    """Swap, look whether somebody wrote to the old store until then, and only then delete it.

    Raises:
        StoreError: If so; the old store is in its place again.
    """
    if not place.exists():
        os.rename(folder, place)
        sync_above(place)
        return
    with held(place):
        old = replace_folder(folder, place)
        if _said(LocalObjects(old)) != before:
            if not exchange(old, place):
                os.rename(place, folder)
                os.rename(old, place)
            raise StoreError(f"{str(place)!r} is being written to; pack it when that is done")
        sync_above(place)
        shutil.rmtree(old, ignore_errors=True)


def _said(objects: Objects) -> dict[str, bytes]:
    """What the two forms must say alike: all records, and who was withdrawn."""
    return dict(stored_records(objects)) | {
        name: objects.get(name) or b"" for name in objects.list(WITHDRAWN)
    }


def _require_equal(location: str, rebuilt: str, before: dict[str, bytes]) -> None:
    """Read the rebuilt store back whole and hold it against the old one.

    Raises:
        StoreError: If anything differs; nothing was changed then.
    """
    with bar("reading back") as progress:
        problems = verify_store(rebuilt, progress).problems
    if problems:
        first = problems[0]
        raise StoreError(
            f"the rebuilt form of {location!r} is not right ({first.volume} {first.array}: {first.problem}); "
            "nothing was changed"
        )
    new = open_objects(rebuilt)
    if new is None or _said(new) != before:
        raise StoreError(f"{location!r} is being written to, or its records were lost; nothing was changed")


def _build(source: Objects, location: str, folder: Path, *, packed: bool, shard_volumes: int | None) -> None:
    """Write a store's other form to a new folder, seal included."""
    reader = open_store(location)
    header, table = reader.header, read_volume_table(source)
    require_complete(source, location, {entry.key for entry in reader.entries})
    target = LocalObjects(folder, durable=False)
    for name in ("zarr.json", HEADER, *source.list(FAILURES), *source.list(WITHDRAWN)):
        target.put(name, source.get(name) or b"")
    fixed = source.get(NUMERICS)
    if fixed is not None:
        target.put(NUMERICS, fixed)
    target.put(segment_name(0), encode_segment(0, table.slices, table.rows))
    wanted = [shard_volumes or _shard_volumes(reader, spec) for spec in header.arrays]
    with counting("packing" if packed else "unpacking", len(wanted) * len(reader.entries)) as count:
        for spec, volumes in zip(header.arrays, wanted, strict=True):
            meta = _metadata(reader, source, spec, table, volumes if packed else 0)
            target.put(metadata_name(spec.name), meta)
            (_write_shards if packed else _write_volumes)(reader, target, parse_layout(spec, meta), count)
    _write_side_objects(source, target, max(wanted) if packed else 0)
    seal(str(folder))
    shutil.rmtree(folder / "tmp", ignore_errors=True)


def _write_side_objects(source: Objects, target: LocalObjects, shards: int) -> None:
    """Write records and previews: gathered with `shards` above 0, else one by one."""
    records = dict(stored_records(source))
    if not shards:
        for name, data in records.items():
            target.put(name, data)
        for digest, png in stored_previews(source):
            target.put(f"{PREVIEWS}/{digest[:2]}/{digest}.png", png)
        return
    put_lines(target, {Path(name).stem: data for name, data in records.items()})
    put_gathered_previews(target, stored_previews(source))
    put_mark(target, shards)


def _shard_volumes(reader: StoreReader, spec: ArraySpec) -> int:
    """Volumes that go to one shard of an array."""
    longest = max((entry.n_slices for entry in reader.entries), default=0)
    return LARGE_SHARD_VOLUMES if longest * item_bytes(spec) > LARGE_VOLUME_BYTES else SHARD_VOLUMES


def _metadata(
    reader: StoreReader, source: Objects, spec: ArraySpec, table: VolumeTable, shard_volumes: int
) -> bytes:
    """Zarr metadata of an array in its other form: grid and codecs change, all else stays."""
    meta = read_object(source.get(metadata_name(spec.name)) or b"{}")
    volumes, slices = wanted_extents(reader.header, table)
    step = chunk_slices(reader.header, spec)
    inner = (1, step, *spec.item_shape)
    shard = (shard_volumes, -(-slices // step) * step, *spec.item_shape)
    meta["shape"] = [volumes, slices, *spec.item_shape]
    meta["chunk_grid"]["configuration"]["chunk_shape"] = list(shard if shard_volumes else inner)
    meta["codecs"] = shard_codecs(inner) if shard_volumes else PLAIN_CODECS
    meta["chunk_key_encoding"] = {"name": "default", "configuration": {"separator": "."}}
    return canonical_json(meta)


def _write_volumes(
    reader: StoreReader, target: LocalObjects, layout: ArrayLayout, count: Callable[[], None]
) -> None:
    """Write all volumes of an array, each to a file of its own."""
    for entry in reader.entries:
        values = reader.read_volume(layout.spec.name, entry.key)
        write_volume(target, {layout.spec.name: layout}, entry.row, {layout.spec.name: values})
        count()


def _write_shards(
    reader: StoreReader, target: LocalObjects, layout: ArrayLayout, count: Callable[[], None]
) -> None:
    """Write all shards of an array, one volume in memory at a time."""
    rows = {entry.row: entry for entry in reader.entries}

    def chunks(first: int) -> Iterator[tuple[int, int, bytes]]:
        for row in range(first, first + layout.shard_volumes):
            if row in rows:
                values = reader.read_volume(layout.spec.name, rows[row].key)
                for block in range(layout.blocks(len(values))):
                    part = values[block * layout.chunk_slices : (block + 1) * layout.chunk_slices]
                    yield row - first, block, encode(layout, part)
                count()

    for first in sorted({row // layout.shard_volumes * layout.shard_volumes for row in rows}):
        with open(target.path(layout.shard_name(first)), "xb") as file:
            write_shard(file, layout, chunks(first))
