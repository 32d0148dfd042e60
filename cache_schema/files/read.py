"""Reading volumes, or some slices of one, into one contiguous piece of memory."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache_schema.common.errors import StoreError
from cache_schema.files.objects import Objects
from cache_schema.files.read_pieces import Piece, read_pieces
from cache_schema.format.layout import ArrayLayout


def read_volumes(
    objects: Objects, layout: ArrayLayout, rows: Sequence[int], n_slices: Sequence[int]
) -> NDArray[Any]:
    """Kept slices of several volumes, `(volume, slice, *rest)`, NaN beyond each volume's own.

    Args:
        objects: The store.
        layout: The array.
        rows: Rows in the order wanted.
        n_slices: Kept slices of each; the longest sets the slice axis.

    Raises:
        RowDamageError: If a volume's chunk is missing, cut, or does not match its checksum.
    """
    longest, step = max(n_slices, default=0), layout.chunk_slices
    out = np.empty((len(rows), longest, *layout.spec.item_shape), dtype=layout.dtype)
    read_pieces(
        objects,
        layout,
        (
            Piece(position, row, start // step, out[position, start : start + step], min(n - start, step))
            for position, (row, n) in enumerate(zip(rows, n_slices, strict=True))
            for start in range(0, n, step)
        ),
    )
    for position, n in enumerate(n_slices):
        out[position, n:] = np.nan
    return out


def read_some(
    objects: Objects, layout: ArrayLayout, row: int, n_slices: int, slices: Sequence[int] | NDArray[Any]
) -> NDArray[Any]:
    """Some kept slices of one volume, `(slice, *rest)`, in the order asked for.

    Each chunk that holds one of them is read once, and no other.

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
    step = layout.chunk_slices
    blocks, which = np.unique(wanted // step, return_inverse=True)
    chunks = np.empty((len(blocks), *layout.chunk_shape), dtype=layout.dtype)
    read_pieces(
        objects,
        layout,
        (
            Piece(0, row, block, chunk, min(n_slices - block * step, step))
            for block, chunk in zip(blocks.tolist(), chunks, strict=True)
        ),
    )
    some: NDArray[Any] = chunks[which, wanted % step]
    return some


def read_whole(objects: Objects, layout: ArrayLayout, row: int, n_slices: int) -> NDArray[Any]:
    """Every slice that is stored of a volume, pads and chunks beyond its kept slices included.

    Chunks beyond them that are not there are NaN, as pads should be.

    Raises:
        DamageError: If a chunk that holds kept slices is missing, or any chunk is damaged.
    """
    step = layout.chunk_slices
    chunks = np.full(
        (layout.blocks(max(n_slices, layout.shape[1])), *layout.chunk_shape), np.nan, dtype=layout.dtype
    )
    read_pieces(
        objects,
        layout,
        (
            Piece(0, row, block, chunk, max(0, min(n_slices - block * step, step)))
            for block, chunk in enumerate(chunks)
        ),
    )
    return chunks.reshape(-1, *layout.spec.item_shape)
