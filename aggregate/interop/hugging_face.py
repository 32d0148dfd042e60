"""A Hugging Face dataset in a folder: Arrow files with a row per volume, and a card."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from aggregate.interop.card import card
from aggregate.interop.lazy_arrays import optional
from aggregate.interop.source import KEY_COLUMNS, SLICE_COLUMNS, Source, text_column
from cache_schema.common.errors import ConfigError
from cache_schema.common.terminal.progress import Progress
from cache_schema.format.header import ArraySpec
from cache_schema.format.layout import item_bytes

if TYPE_CHECKING:
    from datasets import Dataset

BATCH_BYTES = 64 << 20
"""Of rows that are gathered before they are written."""
MOST_AXES = 5
"""Of the arrays that a dataset has a type for."""


def to_hf_dataset(source: Source, tokens: Sequence[str] = ()) -> "Dataset":
    """The same in memory.

    Raises:
        ConfigError: If datasets is not installed.
    """
    datasets = optional("datasets", "to_hf_dataset()", "'slicecache[interop]'")
    with TemporaryDirectory(prefix="slicecache-") as folder:
        path = Path(folder) / "rows.arrow"
        _write_rows(datasets, source, path, source.specs(tokens), None)
        return datasets.Dataset.from_file(str(path), in_memory=True)


def write_dataset(
    source: Source, folder: Path, tokens: Sequence[str] = (), progress: Progress | None = None
) -> None:
    """Write what `datasets.load_from_disk` opens, with a card for people.

    Args:
        source: What is written.
        folder: A new folder.
        tokens: Names of arrays; by default all that hold tokens.
        progress: Called with the volumes written and their number.

    Raises:
        ConfigError: If datasets is not installed, or an array has more axes than it has a type for.
        StoreError: If there is no such array, or a volume is damaged.
    """
    datasets = optional("datasets", "--format huggingface", "'slicecache[interop]'")
    specs = source.specs(tokens)
    rows = folder.parent / "rows.arrow"
    shown = datasets.utils.logging.is_progress_bar_enabled()
    _write_rows(datasets, source, rows, specs, progress)
    datasets.disable_progress_bars()  # ours has been drawn
    try:
        datasets.Dataset.from_file(str(rows)).save_to_disk(str(folder))
    finally:
        if shown:
            datasets.enable_progress_bars()
    rows.unlink()
    (folder / "README.md").write_text(card(source, specs), encoding="utf-8")


def _write_rows(
    datasets: Any, source: Source, path: Path, specs: Sequence[ArraySpec], progress: Progress | None
) -> None:
    """Write a row per volume, a few at a time."""
    from datasets.arrow_writer import ArrowWriter

    store, keys = source.store, source.key_texts()
    longest = max(entry.n_slices for entry in store.entries)
    batch = max(1, BATCH_BYTES // (longest * sum(item_bytes(spec) for spec in specs)))
    columns = {name: _cells(values) for name, values in source.named_columns().items()}
    writer = ArrowWriter(
        features=_features(datasets, source, specs), path=str(path), writer_batch_size=min(batch, 1000)
    )
    with writer:
        for place, (entry, record) in enumerate(zip(store.entries, store.records(), strict=True)):
            row: dict[str, Any] = {name: values[place] for name, values in (keys | columns).items()}
            row |= {name: getattr(record.slices, name.removeprefix("slice_")) for name in SLICE_COLUMNS}
            row |= {spec.name: store.read(spec.name, [entry])[0] for spec in specs}
            writer.write(row)
            if progress is not None:
                progress(place + 1, len(store.entries))
        writer.finalize()


def _features(datasets: Any, source: Source, specs: Sequence[ArraySpec]) -> Any:
    """The types of the columns.

    Raises:
        ConfigError: If an array has too many axes.
    """
    value = datasets.Value
    found = {name: value("string") for name in KEY_COLUMNS}
    for name, values in source.named_columns().items():
        found[name] = value("float64" if pd.api.types.is_numeric_dtype(values) else "string")
    found |= {
        name: datasets.List(value("int32" if name == "slice_index" else "float64")) for name in SLICE_COLUMNS
    }
    for spec in specs:
        axes = 1 + len(spec.item_shape)
        if axes > MOST_AXES:
            raise ConfigError(
                f"{spec.name!r} has {axes} axes per volume, a Hugging Face dataset at most {MOST_AXES}; "
                "leave it out with --tokens"
            )
        shape = (None, *spec.item_shape)
        found[spec.name] = getattr(datasets, f"Array{axes}D")(shape=shape, dtype=spec.dtype)
    return datasets.Features(found)


def _cells(values: "pd.Series[Any]") -> list[Any]:
    if pd.api.types.is_numeric_dtype(values):
        return [None if np.isnan(number) else float(number) for number in values]
    return text_column(values)
