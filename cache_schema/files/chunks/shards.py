"""Shards: the chunks of many volumes in one object, followed by an index (Zarr's `sharding_indexed`).

A shard is its chunks, each with its own checksum, then for every chunk the shard could hold, volume by
volume, its offset and length as little-endian uint64 (both all ones when there is none), then the
crc32c of that index.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from cache_schema.files.chunks.chunk import CHECKSUM, DamageError
from cache_schema.files.objects import LocalObjects, Objects, Opened
from cache_schema.format.layout import ArrayLayout

NO_CHUNK = 2**64 - 1
"""Offset and length of a chunk that is not there."""


def shard_blocks(layout: ArrayLayout) -> int:
    """Chunks per volume that a shard has room for."""
    return layout.blocks(layout.shape[1])


def write_shard(file: BinaryIO, layout: ArrayLayout, chunks: Iterable[tuple[int, int, bytes]]) -> None:
    """Write a shard.

    Args:
        file: Opened for writing, at its beginning.
        layout: The array.
        chunks: `(place of the volume in the shard, block, bytes with checksum)`.
    """
    index = np.full((layout.shard_volumes, shard_blocks(layout), 2), NO_CHUNK, dtype="<u8")
    offset = 0
    for place, block, data in chunks:
        index[place, block] = offset, len(data)
        file.write(data)
        offset += len(data)
    body = index.tobytes()
    file.write(body + CHECKSUM.pack(google_crc32c.value(body)))


def read_index(opened: Opened, layout: ArrayLayout, name: str) -> NDArray[np.uint64]:
    """The index of a shard, `(volume, block, 2)`: offset and length of each chunk.

    Args:
        opened: The shard.
        layout: The array.
        name: Its object name, for messages.

    Raises:
        DamageError: If it is cut, does not match its checksum, or points outside the shard.
    """
    shape = (layout.shard_volumes, shard_blocks(layout), 2)
    tail = bytearray(8 * math.prod(shape) + CHECKSUM.size)
    if opened.size < len(tail) or opened.read_into(opened.size - len(tail), [tail]) < len(tail):
        raise DamageError(f"shard {name} has {opened.size} bytes, less than its index needs")
    body = bytes(tail[: -CHECKSUM.size])
    if google_crc32c.value(body) != CHECKSUM.unpack(tail[-CHECKSUM.size :])[0]:
        raise DamageError(f"the index of shard {name} does not match its checksum: it is cut or damaged")
    index = np.frombuffer(body, dtype="<u8").reshape(shape)
    there = index[index[..., 0] != NO_CHUNK]
    wanted = layout.chunk_bytes + CHECKSUM.size
    last = opened.size - len(tail) - wanted
    if there.size and ((there[:, 1] != wanted).any() or last < 0 or (there[:, 0] > last).any()):
        raise DamageError(f"the index of shard {name} points outside it")
    return index


def shard_rows(layout: ArrayLayout, name: str) -> range:
    """The rows of a shard by its object name."""
    number = int(name.removeprefix(f"{layout.spec.name}/c.").split(".")[0])
    return range(number * layout.shard_volumes, (number + 1) * layout.shard_volumes)


def shard_names(objects: Objects, layout: ArrayLayout) -> Sequence[str]:
    """The shards of an array that are there."""
    prefix = f"{layout.spec.name}/c."
    return [name for name in objects.list(layout.spec.name) if name.startswith(prefix)]


def sharded_rows(objects: Objects, layout: ArrayLayout) -> dict[int, int]:
    """Chunks per row in all readable shards of an array."""
    rows: dict[int, int] = {}
    for name in shard_names(objects, layout):
        opened = objects.opened(name, parts=True)
        if opened is None:
            continue
        try:
            with opened:
                index = read_index(opened, layout, name)
        except DamageError:
            continue  # named with every volume that lies in it
        chunks = (index[..., 0] != NO_CHUNK).sum(axis=1)
        rows |= {row: int(n) for row, n in zip(shard_rows(layout, name), chunks, strict=True) if n}
    return rows


def remove_from_shard(objects: LocalObjects, layout: ArrayLayout, name: str, rows: set[int]) -> None:
    """Write a shard anew without some rows, and put it in the old one's place in one step.

    A shard in which nothing is left is deleted. Chunks of other volumes are copied as they are.

    Raises:
        DamageError: If it is missing or its index is damaged.
    """
    opened = objects.opened(name, parts=True)
    if opened is None:
        raise DamageError(f"shard {name} is missing")
    with opened:
        index = read_index(opened, layout, name)
        there = np.argwhere(index[..., 0] != NO_CHUNK).tolist()
        first = shard_rows(layout, name).start
        kept = [(place, block) for place, block in there if first + place not in rows]
        if len(kept) == len(there):
            return
        if not kept:
            objects.delete(name)
            return

        def chunks() -> Iterator[tuple[int, int, bytes]]:
            for place, block in kept:
                offset, length = index[place, block].tolist()
                data = bytearray(length)
                opened.read_into(offset, [data])
                yield place, block, bytes(data)

        with objects.writing(name) as file:
            write_shard(file, layout, chunks())
