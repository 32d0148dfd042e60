"""Reading volumes out of shards, straight into the array they belong to."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache_schema.chunks import DamageError
from cache_schema.layout import ArrayLayout
from cache_schema.objects import LocalObjects
from cache_schema.shards import OpenShard, shard_blocks


class RowDamageError(DamageError):
    """Damage in one volume; `position` is its place among the rows asked for."""

    def __init__(self, position: int, message: str) -> None:
        """Hold which of the rows asked for it was."""
        super().__init__(message)
        self.position = position


def read_shards(
    objects: LocalObjects,
    layout: ArrayLayout,
    rows: Sequence[int],
    n_slices: Sequence[int],
    out: NDArray[Any],
) -> None:
    """Fill `out` (volume, slice, *rest) shard by shard, NaN beyond each volume's own slices.

    Raises:
        RowDamageError: If a volume's chunk or its shard is missing or damaged.
    """
    order = sorted(range(len(rows)), key=lambda position: rows[position])
    shard, opened = None, ""
    try:
        for position in order:
            row, n, target = rows[position], n_slices[position], out[position]
            try:
                if shard is None or opened != layout.shard_name(row):
                    if shard is not None:
                        shard.close()
                        shard = None
                    opened = layout.shard_name(row)
                    shard = OpenShard(objects, layout, opened)
                for block in range(layout.blocks(n)):
                    start = block * layout.chunk_slices
                    shard.read_into(row, block, target[start : start + layout.chunk_slices])
            except DamageError as damage:
                raise RowDamageError(position, str(damage)) from damage
            target[n:] = np.nan
    finally:
        if shard is not None:
            shard.close()


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
