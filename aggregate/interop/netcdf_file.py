"""A NetCDF-4 file, as xarray opens it, written volume by volume; tokens are float32: it has no float16."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from aggregate.interop.lazy_arrays import optional
from aggregate.interop.source import KEY_COLUMNS, Source, text_column
from cache_schema.common.terminal.progress import Progress
from cache_schema.files.h5.out import SteadyFile


def write_netcdf(
    source: Source, path: Path, tokens: Sequence[str] = (), progress: Progress | None = None
) -> None:
    """Write arrays (volume, slice, ...) with NaN at pads; `keep`, heights, keys and columns as coordinates.

    Args:
        source: What is written.
        path: A new file.
        tokens: Names of arrays; by default all that hold tokens.
        progress: Called with the volumes written and their number.

    Raises:
        ConfigError: If h5netcdf is not installed.
        StoreError: If there is no such array, or a volume is damaged.
    """
    store, specs = source.store, source.specs(tokens)
    lengths = {"volume": len(store.entries), "slice": max(entry.n_slices for entry in store.entries)}
    with _new_netcdf(path) as file:
        for spec in specs:
            for name, length in zip(spec.dims[2:], spec.item_shape, strict=True):
                # Two arrays may have an axis of one name and two lengths.
                taken = lengths.get(name, length) != length
                lengths[f"{spec.name}_{name}" if taken else name] = length
        file.dimensions = lengths
        names = _coordinates(file, source)
        arrays: dict[str, Any] = {
            spec.name: file.create_variable(
                spec.name,
                ("volume", "slice", *(
                    name if lengths[name] == length else f"{spec.name}_{name}"
                    for name, length in zip(spec.dims[2:], spec.item_shape, strict=True)
                )),
                "f4",
                fillvalue=np.float32(np.nan),
                chunks=(1, lengths["slice"], *spec.item_shape),
            )
            for spec in specs
        }  # fmt: skip
        file.attrs.update({**source.said, "coordinates": " ".join(names)})
        records = zip(store.entries, store.records(), strict=True)
        for place, (entry, record) in enumerate(records):
            own = slice(0, entry.n_slices)
            file["keep"][place, own] = np.ones(entry.n_slices, dtype=np.int8)
            for name in ("height_mm", "world_z_mm"):
                file[name][place, own] = np.array(getattr(record.slices, name))
            for name, array in arrays.items():
                values = np.full(array.shape[1:], np.nan, dtype=np.float32)
                values[own] = store.read(name, [entry])[0]
                array[place] = values
            if progress is not None:
                progress(place + 1, len(store.entries))


def _coordinates(file: Any, source: Source) -> list[str]:
    """Everything but tokens: what is known now is written, what slices have is made ready."""
    import h5py

    per_slice, text = ("volume", "slice"), h5py.string_dtype()
    keep = file.create_variable("keep", per_slice, "i1", data=np.zeros(_shape(file), dtype=np.int8))
    keep.attrs["dtype"] = "bool"
    for name in ("height_mm", "world_z_mm"):
        file.create_variable(name, per_slice, "f8", data=np.full(_shape(file), np.nan), fillvalue=np.nan)
    for name, keys in source.key_texts().items():
        file.create_variable(name, ("volume",), text, data=np.array(keys, dtype=object))
    for name, values in source.named_columns().items():
        if pd.api.types.is_numeric_dtype(values):
            numbers = values.to_numpy(dtype=np.float64)
            file.create_variable(name, ("volume",), "f8", data=numbers, fillvalue=np.nan)
        else:
            cells = np.array([cell or "" for cell in text_column(values)], dtype=object)
            file.create_variable(name, ("volume",), text, data=cells)
    return ["keep", "height_mm", "world_z_mm", *KEY_COLUMNS, *map(str, source.columns.columns)]


def _shape(file: Any) -> tuple[int, int]:
    return len(file.dimensions["volume"]), len(file.dimensions["slice"])


@contextmanager
def _new_netcdf(path: Path) -> Iterator[Any]:
    """A file to write to; what the disk refused is raised at the end of the block."""
    h5netcdf = optional("h5netcdf", "--format xarray", "'slicecache[interop]'")
    out = SteadyFile(path)
    try:
        with h5netcdf.File(out, "w") as file:
            yield file
    finally:
        out.close()
    out.check()
