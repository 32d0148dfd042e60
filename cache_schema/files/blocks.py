"""Reading a whole cohort of one array into one contiguous piece of memory.

Chunks of the plain layout are read straight into their place, in a folder without a copy, by several
threads when the storage is slow; their checksums are taken there. So are the shards of a packed folder.
Anything else (other codecs, shards in a zip or behind a URL) goes through Zarr, with the `zarrs`
pipeline where it is installed and fits the store.
"""

import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from itertools import pairwise
from typing import Any

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from cache_schema.files.chunks import CHECKSUM, DamageError, decode
from cache_schema.files.objects import LocalObjects, Objects
from cache_schema.files.read_shards import RowDamageError as RowDamageError
from cache_schema.files.read_shards import read_shards
from cache_schema.format.layout import ArrayLayout, item_bytes

THREADS = 8
SLOW_BYTES_PER_SECOND = 500e6
PROBE = 8
"""Slower than this after so many volumes, the storage is far away and threads wait for it together.
On files in memory they only get into each other's way: 500 volumes of 160 x 384 took 20 ms with one
thread and 31 ms with four on two cores."""


def read_rows(
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
    longest = max(n_slices, default=0)
    out = np.empty((len(rows), longest, *layout.spec.item_shape), dtype=layout.dtype)
    if layout.plain:
        _read_plain(objects, layout, rows, n_slices, out)
    elif layout.shard_volumes and isinstance(objects, LocalObjects):
        read_shards(objects, layout, rows, n_slices, out)
    else:
        _read_through_zarr(objects, layout, rows, n_slices, out)
    return out


def _read_plain(
    objects: Objects, layout: ArrayLayout, rows: Sequence[int], n_slices: Sequence[int], out: NDArray[Any]
) -> None:
    """Fill `out` chunk by chunk."""
    direct = isinstance(objects, LocalObjects) and sys.byteorder == "little"

    def fill(position: int) -> None:
        row, n, target = rows[position], n_slices[position], out[position]
        for block in range(layout.blocks(n)):
            start = block * layout.chunk_slices
            name = layout.chunk_name(row, block)
            part = target[start : start + layout.chunk_slices]
            try:
                if not (direct and read_direct(objects, layout, name, part)):
                    part[:] = decode(layout, objects.get(name), name)[: len(part)]
            except DamageError as damage:
                raise RowDamageError(position, str(damage)) from damage
        target[n:] = np.nan

    started, done = time.perf_counter(), 0
    for position in range(len(rows)):
        fill(position)
        done += n_slices[position] * item_bytes(layout.spec)
        if position + 1 >= PROBE and done < SLOW_BYTES_PER_SECOND * (time.perf_counter() - started):
            with ThreadPoolExecutor(THREADS) as pool:
                for _ in pool.map(fill, range(position + 1, len(rows))):
                    pass
            return


def read_direct(objects: Any, layout: ArrayLayout, name: str, part: NDArray[Any]) -> bool:
    """Read a chunk's file into its place without a copy; False when it is not whole and right.

    The part may be shorter than the chunk (pads beyond the longest volume are read aside). The
    caller reads a chunk that fails here once more, the plain way, which names the damage.
    """
    rest = np.empty(layout.chunk_bytes - part.nbytes, dtype=np.uint8)
    tail = bytearray(CHECKSUM.size + 1)  # one byte more than there should be
    try:
        file = os.open(objects.path(name), os.O_RDONLY)
    except OSError:
        return False
    try:
        got = os.readv(file, [part.reshape(-1).view(np.uint8).data, rest.data, tail])
    finally:
        os.close(file)
    if got != layout.chunk_bytes + CHECKSUM.size:
        return False
    checksum = google_crc32c.extend(
        google_crc32c.value(part.reshape(-1).view(np.uint8)), rest if rest.size else b""
    )
    return bool(checksum == CHECKSUM.unpack(tail[: CHECKSUM.size])[0])


def _read_through_zarr(
    objects: Objects, layout: ArrayLayout, rows: Sequence[int], n_slices: Sequence[int], out: NDArray[Any]
) -> None:
    """Fill `out` with Zarr, merging neighbouring rows into one read."""
    import zarr

    with codec_pipeline(objects):
        array = zarr.open_array(objects.zarr_store(), path=layout.spec.name, mode="r")
    for start, stop in _runs(rows):
        first = rows[start]
        try:
            out[start:stop] = array[first : first + stop - start, : out.shape[1]]
        except (ValueError, OSError, RuntimeError) as error:
            _blame(array, rows, range(start, stop), out.shape[1], error)
    for position, n in enumerate(n_slices):
        out[position, n:] = np.nan
        # A chunk that is missing inside a shard reads as NaN without an error.
        if np.isnan(out[position, :n].reshape(n, -1)[:, 0]).any():
            raise RowDamageError(position, f"a chunk of {layout.spec.name} is missing")


def _blame(array: Any, rows: Sequence[int], span: range, longest: int, error: Exception) -> None:
    """Find the volume that made a block read fail.

    Raises:
        RowDamageError: Naming it.
    """
    for position in span:
        try:
            array[rows[position], :longest]
        except (ValueError, OSError, RuntimeError) as cause:
            raise RowDamageError(position, f"the chunk cannot be read ({cause})") from cause
    raise RowDamageError(span.start, f"the chunks cannot be read ({error})") from error


def _runs(rows: Sequence[int]) -> list[tuple[int, int]]:
    """Positions `(start, stop)` of stretches of consecutive rows."""
    breaks = [i for i in range(1, len(rows)) if rows[i] != rows[i - 1] + 1]
    edges = [0, *breaks, len(rows)]
    return [(a, b) for a, b in pairwise(edges) if b > a]


def codec_pipeline(objects: Objects) -> AbstractContextManager[Any]:
    """Use the `zarrs` codec pipeline for arrays opened inside, for folders and where it is installed."""
    import zarr

    if not isinstance(objects, LocalObjects):
        return nullcontext()
    try:
        import zarrs  # noqa: F401
    except ImportError:
        return nullcontext()
    pipeline: AbstractContextManager[Any] = zarr.config.set(
        {"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"}
    )
    return pipeline
