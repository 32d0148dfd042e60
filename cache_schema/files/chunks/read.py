"""Reading volumes, or some slices of one, into one contiguous piece of memory."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache_schema.common.errors import StoreError
from cache_schema.files.chunks.pieces import Piece, read_pieces
from cache_schema.files.objects import Objects
from cache_schema.format.digests.crc import joined
from cache_schema.format.layout import ArrayLayout, item_bytes


def read_volumes(
    objects: Objects, layout: ArrayLayout, rows: Sequence[int], n_slices: Sequence[int]
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Kept slices of several volumes, and what the bytes of each come to.

    Args:
        objects: The store.
        layout: The array.
        rows: Rows in the order wanted.
        n_slices: Kept slices of each; the longest sets the slice axis.

    Returns:
        `(volume, slice, *rest)`, NaN beyond each volume's own slices, and the crc32c of each volume's kept
        bytes, `(volume)`.

    Raises:
        RowDamageError: If a volume's chunk is missing, cut, or does not match its checksum.
    """
    longest, step = max(n_slices, default=0), layout.chunk_slices
    out = _room(layout, (len(rows), longest, *layout.spec.item_shape))
    pieces = [
        Piece(position, row, start // step, out[position, start : start + step], min(n - start, step))
        for position, (row, n) in enumerate(zip(rows, n_slices, strict=True))
        for start in range(0, n, step)
    ]
    read_pieces(objects, layout, pieces)
    for position, n in enumerate(n_slices):
        out[position, n:] = np.nan
    return out, _by_volume(pieces, len(rows), item_bytes(layout.spec))


def _by_volume(pieces: Sequence[Piece], n_volumes: int, item: int) -> NDArray[np.int64]:
    """The crc32c of each volume's kept bytes, from those of its pieces."""
    found = [0] * n_volumes
    for piece in pieces:
        found[piece.position] = (
            joined(found[piece.position], piece.crc, piece.kept * item) if piece.block else piece.crc
        )
    return np.array(found, dtype=np.int64)


def read_some(
    objects: Objects, layout: ArrayLayout, row: int, n_slices: int, slices: Sequence[int] | NDArray[Any]
) -> tuple[NDArray[Any], dict[int, int]]:
    """Some kept slices of one volume, and what the blocks that hold them come to.

    Each chunk that holds one of them is read once, and no other.

    Args:
        objects: The store.
        layout: The array.
        row: Of the volume.
        n_slices: Kept slices that it has.
        slices: Positions among the kept slices; one may be asked for twice.

    Returns:
        `(slice, *rest)` in the order asked for, and by block the crc32c of all its kept bytes.

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
    chunks = _room(layout, (len(blocks), *layout.chunk_shape))
    pieces = [
        Piece(0, row, block, chunk, min(n_slices - block * step, step))
        for block, chunk in zip(blocks.tolist(), chunks, strict=True)
    ]
    read_pieces(objects, layout, pieces)
    return chunks[which, wanted % step], {piece.block: piece.crc for piece in pieces}


def read_whole(objects: Objects, layout: ArrayLayout, row: int, n_slices: int) -> NDArray[Any]:
    """Every slice that is stored of a volume: whole chunks, pads included, and those beyond its kept slices.

    Extents say how far to look, and no memory is taken for what they say alone: chunks beyond the kept
    slices that are not there, or empty as pads should be, are left out.

    Raises:
        DamageError: If a chunk that holds kept slices is missing, or any chunk is damaged.
    """
    step, kept = layout.chunk_slices, layout.blocks(n_slices)
    chunks = _room(layout, (kept, *layout.chunk_shape))
    read_pieces(
        objects,
        layout,
        [
            Piece(0, row, block, chunk, min(n_slices - block * step, step))
            for block, chunk in enumerate(chunks)
        ],
    )
    beyond = []
    for block in range(kept, layout.blocks(layout.shape[1])):
        pad = np.full(layout.chunk_shape, np.nan, dtype=layout.dtype)
        read_pieces(objects, layout, [Piece(0, row, block, pad, 0)])
        if not np.isnan(pad).all():
            beyond.append(pad[None])
    whole = np.concatenate([chunks, *beyond]) if beyond else chunks
    return whole.reshape(-1, *layout.spec.item_shape)


def _room(layout: ArrayLayout, shape: tuple[int, ...]) -> NDArray[Any]:
    """Memory to read into, not touched before there is something to put there.

    Raises:
        StoreError: If the machine does not have as much.
    """
    try:
        return np.empty(shape, dtype=layout.dtype)
    except (MemoryError, ValueError) as error:
        size = math.prod(shape) * layout.dtype.itemsize
        raise StoreError(
            f"array {layout.spec.name!r} needs {size / 1e9:.1f} GB of memory to be read at once, more than "
            "there is; read fewer volumes, or some slices of each"
        ) from error
