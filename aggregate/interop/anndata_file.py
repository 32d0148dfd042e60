"""An AnnData file (.h5ad), written volume by volume in its documented format, so that memory does not grow.

anndata's own writer wants all tokens at once, and no release of it for Python 3.11 writes the text of
pandas 3; every one since 0.8 reads what is written here. https://anndata.readthedocs.io (On-disk format)
"""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aggregate.interop.formats import Rows
from aggregate.interop.lazy_arrays import optional
from aggregate.interop.source import KEY_COLUMNS, SLICE_COLUMNS, Source, text_column
from cache_schema.common.errors import ConfigError
from cache_schema.common.terminal.progress import Progress
from cache_schema.files.h5.out import new_h5
from cache_schema.format.header import ArraySpec

if TYPE_CHECKING:
    from anndata import AnnData

POOLED = "mean over the kept slices"


def to_anndata(source: Source, tokens: Sequence[str] = (), rows: Rows = "volume") -> "AnnData":
    """The same in memory; needs anndata.

    Raises:
        ConfigError: If anndata is not installed, or an array has more than a vector per slice.
    """
    anndata = optional("anndata", "to_anndata()", "'slicecache[interop]'")
    with TemporaryDirectory(prefix="slicecache-") as folder:
        path = Path(folder) / "store.h5ad"
        write_h5ad(source, path, tokens, rows)
        return anndata.read_h5ad(path)


def write_h5ad(
    source: Source,
    path: Path,
    tokens: Sequence[str] = (),
    rows: Rows = "volume",
    progress: Progress | None = None,
) -> None:
    """Write a file: X the first array, `obsm` the others; a row a volume (the mean of its slices) or a slice.

    Args:
        source: What is written.
        path: A new file.
        tokens: Arrays with one vector per slice; by default all of these, cls first.
        rows: What a row is.
        progress: Called with the volumes written and their number.

    Raises:
        ConfigError: If an array has more than a vector per slice.
        StoreError: If a volume is damaged.
    """
    store, specs, names = source.store, vectors(source, tokens), row_names(source)
    counts = np.array([entry.n_slices if rows == "slice" else 1 for entry in store.entries], dtype=np.int64)
    ends = np.cumsum(counts)
    with new_h5(path) as file:
        _mark(file, "anndata", "0.1.0")
        for name in ("layers", "obsm", "obsp", "varm", "varp", "uns"):
            _mark(file.create_group(name), "dict", "0.1.0")
        obs = _obs(file, source, counts, rows)
        _frame(file, "var", [])
        _texts(file["var"], "_index", [str(n) for n in range(specs[0].item_shape[0])])
        for key, text in {**source.said, "tokens": specs[0].name, "rows": rows, "pooling": POOLED}.items():
            _mark(file["uns"].create_dataset(key, data=text, dtype=_text_type()), "string", "0.2.0")
        matrices = {}
        for place, spec in enumerate(specs):
            at, shape = f"obsm/{spec.name}" if place else "X", (int(ends[-1]), spec.item_shape[0])
            matrices[spec.name] = _mark(file.create_dataset(at, shape, dtype="f4"), "array", "0.2.0")
        for done, (entry, record, end) in enumerate(
            zip(store.entries, store.records(), ends.tolist(), strict=True), start=1
        ):
            own = slice(end - int(counts[done - 1]), end)
            for name, matrix in matrices.items():
                values = store.read(name, [entry])[0].astype(np.float32)
                matrix[own] = values if rows == "slice" else values.mean(0, keepdims=True)
            if rows == "slice":
                for name in SLICE_COLUMNS:
                    obs[name][own] = getattr(record.slices, name.removeprefix("slice_"))
                obs["_index"][own] = [f"{names[done - 1]}/{index}" for index in record.slices.index]
            else:
                obs["_index"][own] = [names[done - 1]]
            if progress is not None:
                progress(done, len(store.entries))


def vectors(source: Source, tokens: Sequence[str]) -> list[ArraySpec]:
    """Arrays with one vector per slice, the first of them to be X.

    Raises:
        ConfigError: If one that was asked for has more, or there is none.
        StoreError: If there is no such array.
    """
    found = source.specs(tokens)
    fit = [spec for spec in found if len(spec.item_shape) == 1 and spec.dims[-1] == "dim"]
    if tokens and len(fit) < len(found):
        odd = next(spec for spec in found if spec not in fit)
        raise ConfigError(
            f"{odd.name!r} holds {' x '.join(map(str, odd.item_shape))} numbers per slice, and a row of "
            "AnnData is one vector; use cls or patch_mean, or --format xarray"
        )
    if not fit:
        raise ConfigError(
            f"{source.store.location!r} has no array of one vector per slice; use --format xarray"
        )
    return fit if tokens else sorted(fit, key=lambda spec: (spec.name != "cls", spec.name != "patch_mean"))


def row_names(source: Source) -> list[str]:
    """A name per volume: its key as text, or the key's digest where two texts would be one."""
    names = [
        "/".join(part for part in parts if part) for parts in zip(*source.key_texts().values(), strict=True)
    ]
    return names if len(set(names)) == len(names) else [entry.key.digest for entry in source.store.entries]


def _obs(file: Any, source: Source, counts: NDArray[np.int64], rows: Rows) -> Any:
    """The table of rows; the index, and what slices have of their own, is filled in volume by volume."""
    n, n_slices = int(counts.sum()), [entry.n_slices for entry in source.store.entries]
    own = SLICE_COLUMNS if rows == "slice" else ()
    obs = _frame(file, "obs", [*KEY_COLUMNS, *own, "n_slices", *source.columns.columns])
    _mark(obs.create_dataset("_index", (n,), dtype=_text_type()), "string-array", "0.2.0")
    for name in own:
        kind = "i8" if name == "slice_index" else "f8"
        _mark(obs.create_dataset(name, (n,), dtype=kind), "array", "0.2.0")
    for name, keys in source.key_texts().items():
        _categories(obs, name, list(keys), counts)
    _mark(obs.create_dataset("n_slices", data=np.repeat(n_slices, counts)), "array", "0.2.0")
    for name, values in source.named_columns().items():
        if pd.api.types.is_numeric_dtype(values):
            numbers = np.repeat(values.to_numpy(dtype=np.float64), counts)
            _mark(obs.create_dataset(name, data=numbers), "array", "0.2.0")
        else:
            _categories(obs, name, text_column(values), counts)
    return obs


def _frame(file: Any, name: str, columns: Sequence[str]) -> Any:
    """An empty table."""
    group = _mark(file.create_group(name), "dataframe", "0.2.0")
    group.attrs["_index"] = "_index"
    group.attrs.create("column-order", list(columns), shape=(len(columns),), dtype=_text_type())
    return group


def _categories(group: Any, name: str, values: Sequence[str | None], counts: NDArray[np.int64]) -> None:
    """A column of text: each text once, and a number per row; -1 where it is missing."""
    texts = sorted({value for value in values if value is not None})
    place = {text: number for number, text in enumerate(texts)}
    codes = np.array([-1 if value is None else place[value] for value in values], dtype=np.int32)
    column = _mark(group.create_group(name), "categorical", "0.2.0")
    column.attrs["ordered"] = False
    _texts(column, "categories", texts)
    _mark(column.create_dataset("codes", data=np.repeat(codes, counts)), "array", "0.2.0")


def _texts(group: Any, name: str, texts: Sequence[str]) -> None:
    data = np.array(texts, dtype=object)
    _mark(group.create_dataset(name, data=data, dtype=_text_type()), "string-array", "0.2.0")


def _mark(item: Any, kind: str, version: str) -> Any:
    """Say what an element is, as readers ask for it."""
    item.attrs["encoding-type"], item.attrs["encoding-version"] = kind, version
    return item


def _text_type() -> Any:
    import h5py

    return h5py.string_dtype()
