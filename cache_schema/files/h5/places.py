"""Where in its file the parts of an exported store lie; runs where HDF5 does, apart from who reads them."""

import math
import os
from array import array
from typing import Any

from cache_schema.files.h5.caps import UnusualHdf5, chunked, numbers_of, within
from cache_schema.files.h5.names import CHECKSUMS, OBJECTS


def store_places(file: Any, *, seconds: float) -> tuple[dict[str, Any], bytes]:
    """Where the objects and the checksums of a store lie, and how its arrays are cut.

    Raises:
        KeyError: If it is no store.
        UnusualHdf5: If it is one that no export is.
    """
    _require_ours(file)
    checksums = {name: numbers_of(file, f"{CHECKSUMS}/{name}", "<i8", 2) for name in _group(file, CHECKSUMS)}
    parts = {name: numbers_of(file, f"{OBJECTS}/{name}", "u1", 1) for name in _group(file, OBJECTS)}
    return {
        "file": _identity(file),
        "parts": {name: _place(found) for name, found in parts.items()},
        "checksums": {name: {"shape": list(d.shape), **_place(d)} for name, d in checksums.items()},
        "arrays": {name: _cut(chunked(file, name)) for name in checksums},
    }, b""


def chunk_places(file: Any, *, name: str, shape: list[int], seconds: float) -> tuple[dict[str, Any], bytes]:
    """Where the chunks of an array lie.

    Args:
        file: The open file.
        name: Of the array.
        shape: Of its checksums, (volume, chunk); what lies beyond is left out.
        seconds: Of the processor.

    Returns:
        The file's identity, and row, block, offset and bytes of each chunk as int64.

    Raises:
        UnusualHdf5: If a chunk says that it is filtered.
    """
    _require_ours(file)
    dataset = chunked(file, name)
    step, (rows, blocks) = dataset.chunks[1], shape
    found = array("q")

    def note(chunk: Any) -> None:
        row, start, *rest = chunk.chunk_offset
        if chunk.filter_mask:
            raise UnusualHdf5(f"the dataset {name!r} has a filter on a chunk")
        if row < rows and start // step < blocks and not any(rest):
            found.extend((row, start // step, chunk.byte_offset, chunk.size))

    dataset.id.chunk_iter(note)
    return {"file": _identity(file)}, found.tobytes()


def _require_ours(file: Any) -> None:
    """Refuse a file in which offsets do not count from its first byte."""
    if file.userblock_size:
        raise UnusualHdf5("the file begins with a user block")


def _identity(file: Any) -> list[int]:
    """Which file it is that HDF5 opened."""
    found = os.fstat(file.id.get_vfd_handle())
    return [found.st_dev, found.st_ino]


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


def _cut(dataset: Any) -> dict[str, int]:
    """Of an array: its axes, slices of a chunk, and bytes of a chunk."""
    return {
        "axes": dataset.ndim,
        "step": dataset.chunks[1],
        "bytes": math.prod(dataset.chunks) * dataset.dtype.itemsize,
    }
