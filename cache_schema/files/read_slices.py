"""Reading some slices of one volume without the others: each chunk that holds one of them is read once.

Works where `blocks.py` does: chunks of the plain layout from any kind of store, shards of a packed
folder, and Zarr for the rest (other codecs, shards in a zip or behind a URL).
"""

import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache_schema.common.errors import StoreError
from cache_schema.files.blocks import codec_pipeline, read_direct
from cache_schema.files.chunks import DamageError, decode
from cache_schema.files.objects import LocalObjects, Objects
from cache_schema.files.shards import OpenShard
from cache_schema.format.layout import ArrayLayout

ReadBlock = Callable[[int], NDArray[Any]]


def read_some(
    objects: Objects, layout: ArrayLayout, row: int, n_slices: int, slices: Sequence[int] | NDArray[Any]
) -> NDArray[Any]:
    """Some kept slices of one volume, `(slice, *rest)`, in the order asked for.

    Args:
        objects: The store.
        layout: The array.
        row: Of the volume.
        n_slices: Kept slices that it has.
        slices: Positions among the kept slices; one may be asked for twice.

    Raises:
        DamageError: If a chunk is missing, cut, or does not match its checksum.
        StoreError: If a position is not between 0 and the kept slices.
    """
    wanted = np.asarray(slices, dtype=np.int64)
    if wanted.size and (wanted.min() < 0 or wanted.max() >= n_slices):
        raise StoreError(
            f"slices {int(wanted.min())} to {int(wanted.max())} were asked for of a volume that has "
            f"{n_slices} kept slices, counted from 0"
        )
    out = np.empty((len(wanted), *layout.spec.item_shape), dtype=layout.dtype)
    if layout.plain:
        _fill(layout, wanted, out, lambda block: _plain_block(objects, layout, row, block))
    elif layout.shard_volumes and isinstance(objects, LocalObjects):
        shard = OpenShard(objects, layout, layout.shard_name(row))
        try:
            _fill(layout, wanted, out, lambda block: shard.read(row, block))
        finally:
            shard.close()
    else:
        _fill_through_zarr(objects, layout, row, wanted, out)
    return out


def _fill(layout: ArrayLayout, wanted: NDArray[np.int64], out: NDArray[Any], read: ReadBlock) -> None:
    """Take the wanted slices out of their chunks, `read(block)` giving one chunk."""
    blocks = wanted // layout.chunk_slices
    for block in np.unique(blocks):
        here = np.flatnonzero(blocks == block)
        out[here] = read(int(block))[wanted[here] - block * layout.chunk_slices]


def _plain_block(objects: Objects, layout: ArrayLayout, row: int, block: int) -> NDArray[Any]:
    """One chunk of the plain layout."""
    name = layout.chunk_name(row, block)
    if isinstance(objects, LocalObjects) and sys.byteorder == "little":
        part = np.empty(layout.chunk_shape, dtype=layout.dtype)
        if read_direct(objects, layout, name, part):
            return part
    return decode(layout, objects.get(name), name)


def _fill_through_zarr(
    objects: Objects, layout: ArrayLayout, row: int, wanted: NDArray[np.int64], out: NDArray[Any]
) -> None:
    """Read stretches of chunks with Zarr, which cuts them out of a shard."""
    import zarr

    with codec_pipeline(objects):
        array = zarr.open_array(objects.zarr_store(), path=layout.spec.name, mode="r")

    def read(block: int) -> NDArray[Any]:
        start = block * layout.chunk_slices
        try:
            part = np.asarray(array[row, start : min(start + layout.chunk_slices, layout.shape[1])])
        except (ValueError, OSError, RuntimeError) as error:
            raise DamageError(f"block {block} of {layout.spec.name} cannot be read ({error})") from error
        here = wanted[wanted // layout.chunk_slices == block] - start
        # A chunk that is missing inside a shard reads as NaN without an error.
        if np.isnan(part[here].reshape(len(here), -1)[:, 0]).any():
            raise DamageError(f"a chunk of {layout.spec.name} is missing")
        return part

    _fill(layout, wanted, out, read)
