"""Shards: the chunks of many volumes in one object, followed by an index (Zarr's `sharding_indexed`).

A shard is its chunks, each with its own checksum, then for every chunk the shard could hold, volume by
volume, its offset and length as little-endian uint64 (both all ones when there is none), then the
crc32c of that index. Written out here so that a chunk can be read straight into the array it belongs to.
"""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, BinaryIO

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from cache_schema.files.chunks import CHECKSUM, DamageError, decode
from cache_schema.files.objects import TEMPORARY, LocalObjects, Objects
from cache_schema.files.unfinished import owner_token
from cache_schema.format.layout import ArrayLayout

EMPTY = np.iinfo(np.uint64).max


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
    index = np.full((layout.shard_volumes, shard_blocks(layout), 2), EMPTY, dtype="<u8")
    offset = 0
    for place, block, data in chunks:
        index[place, block] = offset, len(data)
        file.write(data)
        offset += len(data)
    body = index.tobytes()
    file.write(body + CHECKSUM.pack(google_crc32c.value(body)))


def parse_index(layout: ArrayLayout, tail: bytes, size: int, name: str) -> NDArray[np.uint64]:
    """The index of a shard, `(volume, block, 2)`: offset and length.

    Args:
        layout: The array.
        tail: The last bytes of the shard: index and checksum.
        size: Bytes of the whole shard.
        name: Its object name, for messages.

    Raises:
        DamageError: If it is cut, does not match its checksum, or points outside the shard.
    """
    if len(tail) != index_bytes(layout):
        raise DamageError(f"shard {name} has {size} bytes, less than its index needs")
    body = tail[: -CHECKSUM.size]
    if google_crc32c.value(body) != CHECKSUM.unpack(tail[-CHECKSUM.size :])[0]:
        raise DamageError(f"the index of shard {name} does not match its checksum: it is cut or damaged")
    index = np.frombuffer(body, dtype="<u8").reshape(layout.shard_volumes, shard_blocks(layout), 2)
    there = index[index[..., 0] != EMPTY]
    wanted = layout.chunk_bytes + CHECKSUM.size
    if (there[:, 1] != wanted).any() or (there[:, 0] + wanted > size - len(tail)).any():
        raise DamageError(f"the index of shard {name} points outside it")
    return index


def index_bytes(layout: ArrayLayout) -> int:
    """Bytes of a shard's index with its checksum."""
    return layout.shard_volumes * shard_blocks(layout) * 16 + CHECKSUM.size


class OpenShard:
    """A shard's file, opened for reading; close it with `close`."""

    def __init__(self, objects: LocalObjects, layout: ArrayLayout, name: str) -> None:
        """Open it and read its index.

        Raises:
            DamageError: If it is missing or its index is damaged.
        """
        self._layout, self._name = layout, name
        try:
            self._file = os.open(objects.path(name), os.O_RDONLY)
        except OSError as error:
            raise DamageError(f"shard {name} is missing") from error
        try:
            size = os.fstat(self._file).st_size
            start = max(0, size - index_bytes(layout))
            self.index = parse_index(layout, os.pread(self._file, index_bytes(layout), start), size, name)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def read(self, row: int, block: int) -> NDArray[Any]:
        """A chunk's numbers, `(slice, *rest)`, pads included.

        Raises:
            DamageError: If it is missing or damaged.
        """
        return decode(self._layout, self.raw(row, block), self._chunk(row, block))

    def has(self, row: int, block: int) -> bool:
        """Whether the shard holds a chunk."""
        return self.place(row, block)[0] is not None

    def raw(self, row: int, block: int) -> bytes | None:
        """A chunk's bytes with its checksum, or None when the shard has none."""
        offset, length = self.place(row, block)
        return None if offset is None else os.pread(self._file, length, offset)

    def read_run(self, row: int, block: int, parts: Sequence[NDArray[Any]]) -> list[bytearray | None]:
        """Read the first slices of chunks that lie behind one another into their places, in one call.

        Args:
            row: Of the first chunk.
            block: Of the first chunk.
            parts: For each chunk, where its first slices go.

        Returns:
            For each chunk what follows its part: pads and checksum, not yet checked; None when the
            shard ends before them or has no such chunk.
        """
        offset, length = self.place(row, block)
        if offset is None:
            return [None] * len(parts)
        tails = [bytearray(length - part.nbytes) for part in parts]
        buffers: list[Any] = []
        for part, tail in zip(parts, tails, strict=True):
            buffers += [part.reshape(-1).view(np.uint8).data, tail]
        whole = os.preadv(self._file, buffers, offset) == length * len(parts)
        return [tail if whole else None for tail in tails]

    def place(self, row: int, block: int) -> tuple[int | None, int]:
        """Offset and length of a chunk; offset None when it is not there."""
        offset, length = self.index[row % self._layout.shard_volumes, block]
        return (None, 0) if offset == EMPTY else (int(offset), int(length))

    def _chunk(self, row: int, block: int) -> str:
        """What a chunk is called in messages."""
        return f"of row {row}, block {block} in shard {self._name}"


def is_whole(part: NDArray[Any], tail: bytearray) -> bool:
    """Whether a chunk's first slices and what follows them match the checksum at its end."""
    checksum = google_crc32c.value(part.reshape(-1).view(np.uint8))
    if len(tail) > CHECKSUM.size:
        checksum = google_crc32c.extend(checksum, bytes(tail[: -CHECKSUM.size]))
    return CHECKSUM.pack(checksum) == tail[-CHECKSUM.size :]


def shard_rows(layout: ArrayLayout, name: str) -> range:
    """The rows of a shard by its object name."""
    number = int(name.removeprefix(f"{layout.spec.name}/c.").split(".")[0])
    return range(number * layout.shard_volumes, (number + 1) * layout.shard_volumes)


def shard_names(objects: Objects, layout: ArrayLayout) -> Sequence[str]:
    """The shards of an array that are there."""
    prefix = f"{layout.spec.name}/c."
    return [name for name in objects.list(layout.spec.name) if name.startswith(prefix)]


def read_index(objects: Objects, layout: ArrayLayout, name: str) -> NDArray[np.uint64]:
    """The index of a shard; from a folder without reading the rest.

    Raises:
        DamageError: If it is missing or damaged.
    """
    if isinstance(objects, LocalObjects):
        shard = OpenShard(objects, layout, name)
        shard.close()
        return shard.index
    data = objects.get(name) or b""
    return parse_index(layout, data[-index_bytes(layout) :], len(data), name)


def sharded_rows(objects: Objects, layout: ArrayLayout) -> dict[int, int]:
    """Chunks per row in all readable shards of an array."""
    rows: Counter[int] = Counter()
    for name in shard_names(objects, layout):
        try:
            index = read_index(objects, layout, name)
        except DamageError:
            continue  # named with every volume that lies in it
        for place, n in enumerate((index[..., 0] != EMPTY).sum(axis=1)):
            if n:
                rows[shard_rows(layout, name)[place]] = int(n)
    return dict(rows)


def remove_from_shard(objects: LocalObjects, layout: ArrayLayout, name: str, rows: set[int]) -> None:
    """Write a shard anew without some rows, and put it in the old one's place in one step.

    A shard in which nothing is left is deleted. Chunks of other volumes are copied as they are.

    Raises:
        DamageError: If its index is damaged.
    """
    shard = OpenShard(objects, layout, name)
    try:
        there = [
            (row, block)
            for row in shard_rows(layout, name)
            for block in range(shard_blocks(layout))
            if shard.has(row, block)
        ]
        kept = [(row, block) for row, block in there if row not in rows]
        if len(kept) == len(there):
            return
        if not kept:
            objects.delete(name)
            return
        chunks = ((row % layout.shard_volumes, block, shard.raw(row, block) or b"") for row, block in kept)
        temporary = objects.path(f"{TEMPORARY}/write{owner_token()}")
        os.makedirs(os.path.dirname(temporary), exist_ok=True)
        with open(temporary, "xb") as file:
            write_shard(file, layout, chunks)
        os.replace(temporary, objects.path(name))
    finally:
        shard.close()
