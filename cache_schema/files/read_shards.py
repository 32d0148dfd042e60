"""Reading volumes out of shards, straight into the array they belong to."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache_schema.files.chunks import DamageError
from cache_schema.files.objects import LocalObjects
from cache_schema.files.shards import OpenShard, is_whole, shard_blocks
from cache_schema.format.layout import ArrayLayout

RUN_BYTES = 512 * 1024
"""One call reads at most so many bytes (one chunk at least), so that they are still in the processor's
cache when their checksums are taken. A thread that reads ahead loses that: 1,000 volumes of 160 x 384
took 38 ms without one and 46 ms with one on two cores."""


class RowDamageError(DamageError):
    """Damage in one volume; `position` is its place among the rows asked for."""

    def __init__(self, position: int, message: str) -> None:
        """Hold which of the rows asked for it was."""
        super().__init__(message)
        self.position = position


THREADS = 4
"""Shards read at once, on as many cores; each thread reads and checks its own."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A chunk that is wanted, and where its first slices go."""

    position: int
    """Of its volume among those asked for."""
    row: int
    block: int
    part: NDArray[Any]


def read_shards(
    objects: LocalObjects,
    layout: ArrayLayout,
    rows: Sequence[int],
    n_slices: Sequence[int],
    out: NDArray[Any],
) -> None:
    """Fill `out` (volume, slice, *rest) shard by shard, NaN beyond each volume's own slices.

    Small neighbouring chunks are read in one call, straight into their places, and held to their
    checksums while they are in the processor's cache.

    Raises:
        RowDamageError: If a volume's chunk or its shard is missing or damaged.
    """
    places: dict[str, list[int]] = {}
    for position in sorted(range(len(rows)), key=lambda position: rows[position]):
        places.setdefault(layout.shard_name(rows[position]), []).append(position)

    def fill(name: str) -> None:
        positions = places[name]
        _fill_from_shard(objects, layout, name, positions, rows, n_slices, out)

    workers = min(THREADS, len(places), os.cpu_count() or 1)
    if workers < 2:
        for name in places:
            fill(name)
        return
    with ThreadPoolExecutor(workers) as pool:
        for _ in pool.map(fill, places):
            pass


def _fill_from_shard(
    objects: LocalObjects,
    layout: ArrayLayout,
    name: str,
    positions: Sequence[int],
    rows: Sequence[int],
    n_slices: Sequence[int],
    out: NDArray[Any],
) -> None:
    """Read one shard's volumes into their places.

    Raises:
        RowDamageError: If a volume's chunk or the shard is missing or damaged.
    """
    try:
        shard = OpenShard(objects, layout, name)
    except DamageError as damage:
        raise RowDamageError(positions[0], str(damage)) from damage
    try:
        pieces = []
        for position in positions:
            n, target = n_slices[position], out[position]
            for block in range(layout.blocks(n)):
                start = block * layout.chunk_slices
                part = target[start : start + layout.chunk_slices]
                pieces.append(Piece(position, rows[position], block, part))
            target[n:] = np.nan
        for run in _runs(layout, shard, pieces):
            tails = shard.read_run(run[0].row, run[0].block, [piece.part for piece in run])
            for piece, tail in zip(run, tails, strict=True):
                if tail is None or not is_whole(piece.part, tail):
                    _read_again(shard, piece)
    finally:
        shard.close()


def _runs(layout: ArrayLayout, shard: OpenShard, pieces: Sequence[Piece]) -> Iterator[list[Piece]]:
    """Pieces that lie behind one another in the shard, a few at a time."""
    at_once = max(1, RUN_BYTES // layout.chunk_bytes)
    run: list[Piece] = []
    behind: int | None = None
    for piece in pieces:
        start, length = shard.place(piece.row, piece.block)
        if run and (start is None or behind != start or len(run) == at_once):
            yield run
            run = []
        run.append(piece)
        behind = None if start is None else start + length
    if run:
        yield run


def _read_again(shard: OpenShard, piece: Piece) -> None:
    """Read one chunk by itself, which names its damage.

    Raises:
        RowDamageError: If it is missing or damaged.
    """
    try:
        piece.part[:] = shard.read(piece.row, piece.block)[: len(piece.part)]
    except DamageError as damage:
        raise RowDamageError(piece.position, str(damage)) from damage


def read_shard_volume(objects: LocalObjects, layout: ArrayLayout, row: int, n: int) -> NDArray[Any]:
    """Every slice that a shard stores of a volume, pads and chunks beyond its kept slices included.

    Raises:
        DamageError: If a chunk that holds kept slices is missing, or any chunk or the shard is damaged.
    """
    shard = OpenShard(objects, layout, layout.shard_name(row))
    try:
        blocks = range(shard_blocks(layout))
        needed = layout.blocks(n)
        return np.concatenate(
            [shard.read(row, block) for block in blocks if block < needed or shard.has(row, block)]
        )
    finally:
        shard.close()
