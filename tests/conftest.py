"""Fixtures that more than one room's tests use."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cache_schema.example import example_arrays, example_draft, example_header, example_row
from cache_schema.identity import VolumeKey
from cache_schema.reader import StoreReader, open_store
from cache_schema.writer import StoreWriter

# As the command does: idle threads sleep, so that tests on a busy machine take no longer than they must.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real images that lies beside a developer's checkout; tests skip without it."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the real images are not on this machine")
    return folder


@dataclass(frozen=True)
class Scan:
    """One volume of a made-up store."""

    participant: str
    session: str = ""
    volume_id: str = "T1w"
    n_slices: int = 3
    shift: float = 0.0
    """Added to every token: what a label may depend on."""
    changes: dict[str, Any] = field(default_factory=dict)
    """Whole fields of the record that differ from the example's."""


@pytest.fixture
def make_store(tmp_path: Path) -> Callable[[Sequence[Scan]], StoreReader]:
    """Write a real store of random tokens (dim 7) and open it."""

    def make(scans: Sequence[Scan]) -> StoreReader:
        header = example_header(("cls", "patch_mean"), slice_chunk=5)
        keys = [VolumeKey(scan.participant, scan.session, scan.volume_id) for scan in scans]
        rows = [example_row(key, scan.n_slices) for key, scan in zip(keys, scans, strict=True)]
        location = str(tmp_path / "cohort.zarr")
        writer = StoreWriter.open(location, header, rows)
        for seed, (key, scan) in enumerate(zip(keys, scans, strict=True)):
            arrays = example_arrays(header, scan.n_slices, seed)
            arrays = {name: values + np.float32(scan.shift) for name, values in arrays.items()}
            writer.commit(example_draft(key, scan.n_slices, **scan.changes), arrays)
        return open_store(location)

    return make


@pytest.fixture(scope="session")
def scan() -> type[Scan]:
    """The class that describes a volume to `make_store`."""
    return Scan
