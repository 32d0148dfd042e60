"""Chunks, read into the places where their slices are wanted.

One way for all: an object holds one chunk (the plain layout) or many with an index behind them (a shard);
each chunk that is wanted is read whole, in a folder straight into its place, and held to its checksum
while it is in the processor's cache. Arrays with other codecs are not read.

Why not all of it through Zarr with the `zarrs` pipeline: zarrs 0.2.3 holds a chunk to its checksum only
where an object is asked for whole. Some slices of a chunk, and any volume of a shard, come back damaged
without an error. Whole objects read aside and copied, so that it does check, took 1.2 to 2 times the
processor's time of this module for a cohort of 1,000 volumes, 5 times for 300 of them in shards, and 6 to
8 times for one volume.
"""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache_schema.files.chunks.chunk import CHECKSUM, DamageError, kept_checksum
from cache_schema.files.chunks.shards import NO_CHUNK, read_index
from cache_schema.files.objects import LocalObjects, Objects, Opened
from cache_schema.files.remote.objects import OpenedRemote, RemoteObjects
from cache_schema.format.layout import ArrayLayout

FAR_THREADS = 8
URL_THREADS = 32
URL_SHARDS = 8
"""Objects asked for at once behind a URL, where each answer is waited for: with 20 ms to wait, 200 volumes of
160 x 384 took 0.9 s with 8 threads and 0.3 s with 32."""
URL_RUN_BYTES = 8 * 1024 * 1024
URL_GAP_BYTES = 512 * 1024
"""Behind a URL a request takes as long as a megabyte: so much of a shard is asked for at once, and so much
that nobody wants is read along."""
SLOW_BYTES_PER_SECOND = 500e6
PROBE = 8
"""Slower than this after so many objects, the storage is far away and threads wait for it together."""
NEAR_THREADS = 2
TASK_OBJECTS = 32
"""Files in memory are read by two threads, so many files at a time: the system copies them without Python's
lock. One file at a time, the threads only get into each other's way (31 ms instead of 20 for 500 volumes)."""
MANY_OBJECTS = 128
"""Fewer files are read before threads have started."""
SHARD_THREADS = 4
"""Shards read at once, on as many cores; each thread reads and checks its own."""
RUN_BYTES = 512 * 1024
"""One call reads at most so many bytes of a shard (one chunk at least), so that they are still in the
processor's cache when their checksums are taken. A thread that reads ahead loses that: 1,000 volumes of
160 x 384 took 38 ms without one and 46 ms with one on two cores."""


class RowDamageError(DamageError):
    """Damage in one volume; `position` is its place among the rows asked for."""

    def __init__(self, position: int, message: str) -> None:
        """Hold which of the rows asked for it was."""
        super().__init__(message)
        self.position = position


@dataclass(slots=True)
class Piece:
    """A chunk that is wanted, and where its first slices go."""

    position: int
    """Of its volume among those asked for."""
    row: int
    block: int
    part: NDArray[Any]
    """`(slice, *rest)`, contiguous, at most a chunk."""
    kept: int
    """How many of the first slices are kept ones; 0: the chunk may be absent, and the part stays."""
    crc: int = 0
    """crc32c of the kept slices' bytes, once they are there."""


def read_pieces(objects: Objects, layout: ArrayLayout, pieces: Sequence[Piece]) -> None:
    """Fill the parts of all pieces, object by object, by threads where that is faster.

    Each gets the crc32c of its kept bytes, from the one pass that holds the chunk to its own checksum.

    Raises:
        RowDamageError: If a chunk is missing, cut, or does not match its checksum.
    """
    by_object: dict[str, list[Piece]] = {}
    for piece in pieces:
        by_object.setdefault(layout.object_name(piece.row, piece.block), []).append(piece)
    names, fill = list(by_object), partial(_fill, objects, layout, by_object)
    workers = min(SHARD_THREADS, len(names), os.cpu_count() or 1) if layout.shard_volumes else 1
    if isinstance(objects, RemoteObjects):
        workers = URL_SHARDS if layout.shard_volumes else URL_THREADS
    filled, task = 0, 1
    started = time.perf_counter()
    while filled < len(names) and workers < 2:
        fill(names[filled])
        filled += 1
        if filled >= PROBE:
            slow = filled * layout.chunk_bytes < SLOW_BYTES_PER_SECOND * (time.perf_counter() - started)
            if slow:
                workers = FAR_THREADS
            elif filled == PROBE and len(names) >= MANY_OBJECTS and isinstance(objects, LocalObjects):
                workers, task = min(NEAR_THREADS, os.cpu_count() or 1), TASK_OBJECTS
    if filled < len(names):
        tasks = [names[first : first + task] for first in range(filled, len(names), task)]
        with ThreadPoolExecutor(workers) as pool:
            for _ in pool.map(lambda few: [fill(name) for name in few], tasks):
                pass


def _fill(objects: Objects, layout: ArrayLayout, by_object: Mapping[str, list[Piece]], name: str) -> None:
    """Read one object's pieces into their places.

    Raises:
        RowDamageError: If a chunk or the object is missing or damaged.
    """
    pieces, sharded = by_object[name], bool(layout.shard_volumes)
    opened = objects.opened(name, parts=sharded)
    if opened is None:
        for piece in pieces:
            if piece.kept:
                what = "shard" if sharded else "chunk"
                raise RowDamageError(piece.position, f"{what} {name} is missing")
        return
    with opened:
        for offset, run in (
            _shard_runs(opened, layout, name, pieces) if sharded else [(0, [(0, p) for p in pieces])]
        ):
            _read_run(opened, layout, name, offset, run)


def _shard_runs(
    opened: Opened, layout: ArrayLayout, name: str, pieces: Sequence[Piece]
) -> Iterator[tuple[int, list[tuple[int, Piece]]]]:
    """Pieces that lie behind one another in a shard, a few at a time: where the first begins, and each.

    Raises:
        RowDamageError: If the index is damaged, or has no chunk where there are kept slices.
    """
    try:
        index = read_index(opened, layout, name)
    except DamageError as damage:
        raise RowDamageError(pieces[0].position, str(damage)) from damage
    length = layout.chunk_bytes + CHECKSUM.size
    far = isinstance(opened, OpenedRemote)
    longest, gap = (URL_RUN_BYTES, URL_GAP_BYTES) if far else (RUN_BYTES, 0)
    run: list[tuple[int, Piece]] = []
    behind = 0
    for piece in sorted(pieces, key=lambda piece: (piece.row, piece.block)):
        start = int(index[piece.row % layout.shard_volumes, piece.block, 0])
        if start == NO_CHUNK:
            if piece.kept:
                raise RowDamageError(piece.position, f"chunk {_label(layout, name, piece)} is missing")
            continue
        if run and not (behind <= start <= behind + gap and start + length - run[0][0] <= longest):
            yield run[0][0], run
            run = []
        run.append((start, piece))
        behind = start + length
    if run:
        yield run[0][0], run


def _read_run(
    opened: Opened, layout: ArrayLayout, name: str, offset: int, run: Sequence[tuple[int, Piece]]
) -> None:
    """Read chunks that lie behind one another, each with its start, into their places, and check them.

    Raises:
        RowDamageError: If one is cut or does not match its checksum.
    """
    length = layout.chunk_bytes + CHECKSUM.size
    if not layout.shard_volumes and opened.size != length:
        raise RowDamageError(run[0][1].position, f"chunk {name} has {opened.size} bytes, not {length}")
    tails = [bytearray(length - piece.part.nbytes) for _, piece in run]  # pads and checksum
    buffers: list[Any] = []
    behind = offset
    for (start, piece), tail in zip(run, tails, strict=True):
        if start > behind:
            buffers.append(bytearray(start - behind))  # of volumes that nobody asked for
        behind = start + length
        buffers += [piece.part.reshape(-1).view(np.uint8).data, tail]
    got = opened.read_into(offset, buffers)
    for (start, piece), tail in zip(run, tails, strict=True):
        crc = kept_checksum(piece.part, piece.kept, tail) if got >= start + length - offset else None
        if crc is None:
            text = f"chunk {_label(layout, name, piece)} does not match its checksum"
            raise RowDamageError(piece.position, text)
        piece.crc = crc


def _label(layout: ArrayLayout, name: str, piece: Piece) -> str:
    """What a chunk is called in messages."""
    return f"of row {piece.row}, block {piece.block} in shard {name}" if layout.shard_volumes else name
