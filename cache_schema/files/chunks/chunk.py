"""One chunk: one volume's block of slices as little-endian numbers followed by their crc32c.

This is what Zarr's codecs `bytes` and `crc32c` make; written out here because a chunk of one's own can
be written atomically, told apart when it is missing, and read straight into the array it belongs to.
"""

import struct
from collections.abc import Mapping
from typing import Any

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from cache_schema.common.errors import StoreError, VolumeError
from cache_schema.files.objects import Objects
from cache_schema.format.digests.crc import crc32c, extended
from cache_schema.format.header import ArraySpec
from cache_schema.format.layout import ArrayLayout

CHECKSUM = struct.Struct("<I")


class DamageError(StoreError):
    """A chunk is missing, cut, or does not match its checksum; the sentence says which."""


def to_storage(spec: ArraySpec, values: NDArray[Any], n_slices: int) -> NDArray[Any]:
    """Cast one volume's kept slices to the storage dtype.

    Args:
        spec: The array.
        values: `(slice, *item_shape)`, any float dtype.
        n_slices: Slices that the draft says were kept.

    Raises:
        StoreError: If the shape is another one: a mistake of the caller.
        VolumeError: If a value is not finite, before the cast or after it.
    """
    if values.shape != (n_slices, *spec.item_shape):
        raise StoreError(
            f"array {spec.name!r} needs shape {(n_slices, *spec.item_shape)}, not {values.shape}"
        )
    with np.errstate(over="ignore"):
        stored = np.ascontiguousarray(values, dtype=np.dtype(spec.dtype).newbyteorder("<"))
    if np.isfinite(stored).all():
        return stored
    if not np.isfinite(values).all():
        raise VolumeError(f"{spec.name} holds values that are not finite numbers")
    largest = float(np.abs(values).max())
    raise VolumeError(
        f"{spec.name} reaches {largest:.4g}, which {spec.dtype} cannot hold; extract with storage: float32"
    )


def encode(layout: ArrayLayout, values: NDArray[Any]) -> bytes:
    """A chunk of at most `chunk_slices` slices, padded with NaN."""
    block = np.full(layout.chunk_shape, np.nan, dtype=layout.dtype)
    block[: len(values)] = values
    return block.tobytes() + CHECKSUM.pack(google_crc32c.value(block.reshape(-1).view(np.uint8)))


def kept_checksum(part: NDArray[Any], kept: int, tail: bytes | bytearray) -> int | None:
    """The crc32c of a chunk's kept bytes, or None if the whole chunk does not match its own.

    Args:
        part: The chunk's first slices.
        kept: How many of them are kept ones.
        tail: What follows: pads and the checksum.
    """
    found = whole = crc32c(part[:kept])
    if kept < len(part):
        whole = extended(whole, part[kept:])
    if len(tail) > CHECKSUM.size:
        whole = int(google_crc32c.extend(whole, bytes(tail[: -CHECKSUM.size])))
    return found if CHECKSUM.pack(whole) == tail[-CHECKSUM.size :] else None


def write_volume(
    objects: Objects, layouts: Mapping[str, ArrayLayout], row: int, arrays: Mapping[str, NDArray[Any]]
) -> None:
    """Write one volume's arrays, and delete what an earlier, longer version left behind them.

    Args:
        objects: The store.
        layouts: By array name; extents must cover the row and the slices.
        row: The volume's row.
        arrays: By name, kept slices in the storage dtype.

    Raises:
        StoreError: If the array is not stored chunk by chunk (a packed store is not written to).
    """
    for name, values in arrays.items():
        layout = layouts[name]
        if not layout.plain:
            raise StoreError(f"array {name!r} is packed or coded otherwise; this store can only be read")
        step = layout.chunk_slices
        for block in range(layout.blocks(layout.shape[1])):
            part = values[block * step : (block + 1) * step]
            if len(part):
                objects.put(layout.chunk_name(row, block), encode(layout, part))
            else:
                objects.delete(layout.chunk_name(row, block))
