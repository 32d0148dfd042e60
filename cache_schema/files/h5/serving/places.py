"""Where in its file the parts of an exported store lie; runs where HDF5 does, apart from who reads them."""

import math
import os
from array import array
from typing import Any

from cache_schema.files.h5.caps import UnusualHdf5, chunked, numbers_of, within
from cache_schema.files.h5.names import CHECKSUMS, OBJECTS


def store_places(file: Any, *, seconds: float) -> tuple[dict[str, Any], bytes]:
    """Where objects, checksums and chunks of a store lie.

    Returns:
        By name where each dataset lies, of each array its axes, the bytes of a chunk and how many it has;
        and behind it, array by array, row, block and offset of each chunk as int64.

    Raises:
        KeyError: If it is no store.
        UnusualHdf5: If it is one that no export is.
    """
    if file.userblock_size:
        raise UnusualHdf5("the file begins with a user block")
    checksums = {name: numbers_of(file, f"{CHECKSUMS}/{name}", "<i8", 2) for name in _group(file, CHECKSUMS)}
    parts = {name: numbers_of(file, f"{OBJECTS}/{name}", "u1", 1) for name in _group(file, OBJECTS)}
    arrays = {name: chunked(file, name) for name in checksums}
    chunks = {name: _chunks(arrays[name], name, checksums[name].shape) for name in arrays}
    opened = os.fstat(file.id.get_vfd_handle())
    return {
        "file": [opened.st_dev, opened.st_ino],
        "parts": {name: _place(found) for name, found in parts.items()},
        "checksums": {name: {"shape": list(d.shape), **_place(d)} for name, d in checksums.items()},
        "arrays": {
            name: {"axes": d.ndim, "bytes": _chunk_bytes(d), "chunks": len(chunks[name]) // 3}
            for name, d in arrays.items()
        },
    }, b"".join(each.tobytes() for each in chunks.values())


def _chunk_bytes(dataset: Any) -> int:
    """Bytes of a chunk as it is written without a filter."""
    return int(math.prod(dataset.chunks) * dataset.dtype.itemsize)


def _chunks(dataset: Any, name: str, shape: tuple[int, int]) -> "array[int]":
    """Row, block and offset of each chunk of an array, one behind the other.

    Args:
        dataset: The array.
        name: Of it.
        shape: Of its checksums, (volume, chunk); what lies beyond is left out.

    Raises:
        UnusualHdf5: If a chunk says that it is filtered, or has another size.
    """
    step, n_bytes, (rows, blocks) = dataset.chunks[1], _chunk_bytes(dataset), shape
    found = array("q")

    def note(chunk: Any) -> None:
        row, start, *rest = chunk.chunk_offset
        if chunk.filter_mask or chunk.size != n_bytes:
            raise UnusualHdf5(f"the dataset {name!r} has a chunk of {chunk.size} bytes, or a filtered one")
        if row < rows and start // step < blocks and not any(rest):
            found.extend((row, start // step, chunk.byte_offset))

    dataset.id.chunk_iter(note)
    return found


def _group(file: Any, name: str) -> Any:
    """The names in a group."""
    import h5py

    found = within(file, name)
    if not isinstance(found, h5py.Group):
        raise KeyError(name)
    return found


def _place(dataset: Any) -> dict[str, Any]:
    """Of a dataset: its bytes, how many of them lie together, and where each such stretch begins."""
    size = dataset.size * dataset.dtype.itemsize
    if dataset.chunks is None:
        offset = dataset.id.get_offset()
        if offset is None:
            raise UnusualHdf5(f"the dataset {dataset.name!r} has no place of its own")
        return {"size": size, "step": size, "offsets": [offset]}
    if dataset.ndim > 1:
        raise UnusualHdf5(f"the dataset {dataset.name!r} is cut in chunks")
    step = dataset.chunks[0] * dataset.dtype.itemsize
    offsets = [-1] * math.ceil(size / step)

    def note(chunk: Any) -> None:
        offsets[chunk.chunk_offset[0] * dataset.dtype.itemsize // step] = chunk.byte_offset

    dataset.id.chunk_iter(note)
    return {"size": size, "step": step, "offsets": offsets}
