"""Stores as dask arrays and xarray datasets: blocks of volumes, read when they are computed.

Each block opens the store where it is computed, so that nothing but a path travels to dask's workers.
"""

from collections.abc import Mapping
from functools import lru_cache, partial
from importlib import import_module
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cache_schema.common.errors import ConfigError, StoreError
from cache_schema.common.prove import Prove
from cache_schema.store.reader import StoreReader, open_store

if TYPE_CHECKING:
    from dask.array import Array as DaskArray
    from xarray import Dataset as XarrayDataset


def optional(name: str, what: str, packages: str) -> Any:
    """Import a module that only some exports need.

    Raises:
        ConfigError: If it is not installed, saying how to install it.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"{what} needs {error.name}, which is not installed: pip install {packages}"
        ) from error


def dask_array(reader: StoreReader, name: str, volumes_per_block: int) -> "DaskArray":
    """One array, (volume, slice, ...), in blocks of volumes.

    Raises:
        ConfigError: If dask is not installed.
        StoreError: If there is no such array.
    """
    array = optional("dask.array", "to_dask()", "'dask[array]'")
    spec = reader.layout(name).spec
    counts = [entry.n_slices for entry in reader.entries]
    longest = max(counts, default=0)
    edges = [*range(0, len(counts), max(1, volumes_per_block)), len(counts)]
    blocks = tuple(b - a for a, b in pairwise(edges)) or (0,)
    rest = tuple(spec.item_shape)
    return array.map_blocks(
        partial(read_block, reader.location, reader.content_digest(), reader.prove, name, longest),
        dtype=np.dtype(spec.dtype),
        chunks=(blocks, (longest,), *((n,) for n in rest)),
        meta=np.empty((0,) * (2 + len(rest)), dtype=spec.dtype),
    )


def read_block(
    location: str, digest: str, prove: Prove, name: str, longest: int, block_info: Any = None
) -> NDArray[Any]:
    """Some volumes of a store, (volume, slice, ...), NaN up to the store's longest volume.

    Args:
        location: Of the store.
        digest: Content digest that the store had when the array was made.
        prove: What the numbers are held to.
        name: The array.
        longest: Slices of the whole array.
        block_info: As `dask.array.map_blocks` gives it; says which volumes.

    Raises:
        StoreError: If the store changed since, or a volume is damaged.
    """
    first, last = block_info[None]["array-location"][0]
    reader = _opened(location, digest, prove)
    values = reader.read(name, reader.entries[first:last])
    behind = [(0, 0), (0, longest - values.shape[1]), *[(0, 0)] * (values.ndim - 2)]
    padded: NDArray[Any] = np.pad(values, behind, constant_values=np.nan)
    return padded


@lru_cache(maxsize=8)
def _opened(location: str, digest: str, prove: Prove) -> StoreReader:
    """A store, opened once per process and state."""
    reader = open_store(location, prove)
    if reader.content_digest() != digest:
        raise StoreError(f"{location!r} has other volumes than when the array was made of it; open it again")
    return reader


def xarray_dataset(
    reader: StoreReader, volumes_per_block: int, columns: Mapping[str, Any]
) -> "XarrayDataset":
    """All arrays of a store with named axes, and more coordinates of volumes, `columns`.

    Raises:
        ConfigError: If xarray or dask is not installed.
    """
    xarray = optional("xarray", "to_xarray()", "'slicecache[interop]'")
    keys = [entry.key for entry in reader.entries]
    counts = np.array([entry.n_slices for entry in reader.entries], dtype=np.int64)
    keep = np.arange(int(counts.max(initial=0))) < counts[:, None]
    height = np.full(keep.shape, np.nan, dtype=np.float32)
    for place, record in enumerate(reader.records()):
        height[place, : counts[place]] = record.slices.height_mm
    return xarray.Dataset(
        {
            spec.name: (spec.dims, dask_array(reader, spec.name, volumes_per_block))
            for spec in reader.header.arrays
        },
        coords={
            "participant_id": ("volume", [key.participant_id for key in keys]),
            "session_id": ("volume", [key.session_id for key in keys]),
            "volume_id": ("volume", [key.volume_id for key in keys]),
            "keep": (("volume", "slice"), keep),
            "height_mm": (("volume", "slice"), height),
            **{name: ("volume", values) for name, values in columns.items()},
        },
        attrs={"location": reader.location, "fingerprint": reader.header.fingerprint.digest},
    )
