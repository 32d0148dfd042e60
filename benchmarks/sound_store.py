"""The sound store of made-up embeddings that `faults.py` damages."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from made_up_store import example_arrays, example_draft, example_header, example_key, example_row, tiny_png

from cache_schema.format.header import Header
from cache_schema.store.writer import StoreWriter

N_VOLUMES = 12
N_SLICES = 9
KEYS = [example_key(number) for number in range(N_VOLUMES)]


def header() -> Header:
    """Every kind of array there is; volumes span two chunks."""
    base = example_header(("cls", "patch_mean", "patches", "cls_attention"), slice_chunk=7)
    layer = base.arrays[0].model_copy(update={"name": "cls_l06"})
    return base.model_copy(update={"arrays": (*base.arrays, layer)})


HEADER = header()
ITEMS = {spec.name: spec.item_shape for spec in HEADER.arrays}


def embeddings(seed: int) -> dict[str, Any]:
    """Made-up embeddings of one volume; tokens have norms that are alike, as a backbone's have."""
    arrays = example_arrays(HEADER, N_SLICES, seed)
    tokens = {spec.name for spec in HEADER.arrays if spec.dims[-1] == "dim"}
    return {name: v + np.float32(9) if name in tokens else np.abs(v) for name, v in arrays.items()}


def write_store(location: Path, change: Callable[[dict[int, dict[str, Any]]], None] | None = None) -> None:
    """Write a sound store; `change` makes a writer that is wrong and hashes what it writes."""
    arrays = {number: embeddings(number) for number in range(N_VOLUMES)}
    if change is not None:
        change(arrays)
    writer = StoreWriter.open(str(location), HEADER, [example_row(key, N_SLICES) for key in KEYS])
    for number, key in enumerate(KEYS):
        writer.commit(example_draft(key, N_SLICES), arrays[number], preview=tiny_png(number))


def chunk(store: Path, name: str, volume: int, block: int) -> Path:
    """A chunk's file; volumes were given their rows in order."""
    return store / name / (f"c.{volume}.{block}" + ".0" * len(ITEMS[name]))
