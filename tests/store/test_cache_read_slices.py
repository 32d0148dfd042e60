"""Some slices of a volume are the slices of the whole volume, from every kind of store."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_up_store import example_arrays, example_draft, example_header, example_key, example_row, zipped

from cache_schema.common.errors import StoreError
from cache_schema.move.export import export_store
from cache_schema.move.pack import pack
from cache_schema.store.reader import open_store
from cache_schema.store.seal import seal
from cache_schema.store.writer import StoreWriter

LENGTHS = (7, 3, 11, 5)
KINDS = ("folder", "packed", "zip", "packed zip", "h5")


def write(location):
    header = example_header(("cls", "patches"), slice_chunk=3)
    rows = [example_row(example_key(i), n) for i, n in enumerate(LENGTHS)]
    writer = StoreWriter.open(location, header, rows)
    for i, n in enumerate(LENGTHS):
        writer.commit(example_draft(example_key(i), n), example_arrays(header, n, i))
    seal(location)


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    folder = tmp_path_factory.mktemp("slices")
    plain = str(folder / "s.zarr")
    write(plain)
    pack(plain, str(folder / "p.zarr"), shard_volumes=3)
    zipped(plain)
    zipped(folder / "p.zarr")
    export_store(plain, str(folder / "s.h5"))
    names = ("s.zarr", "p.zarr", "s.zip", "p.zip", "s.h5")
    return {kind: open_store(folder / name) for kind, name in zip(KINDS, names, strict=True)}


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_some_slices_are_those_of_the_volume(stores, kind, data):
    store = stores[kind]
    entry = store.entries[data.draw(st.integers(0, len(LENGTHS) - 1))]
    wanted = data.draw(st.lists(st.integers(0, entry.n_slices - 1), max_size=9))
    for name in ("cls", "patches", "foreground"):
        whole = store.read_volume(name, entry.key)
        np.testing.assert_array_equal(store.read_slices(name, entry, wanted), whole[wanted])


def test_only_chunks_that_are_needed_are_read(tmp_path):
    write(str(tmp_path / "s"))
    store = open_store(tmp_path / "s")
    entry = store.entries[2]
    Path(tmp_path / f"s/patches/c.{entry.row}.0.0.0.0").unlink()
    assert store.read_slices("patches", entry, [10, 3]).shape == (2, 3, 5, 7)
    with pytest.raises(StoreError, match=r"p002/T1w, array 'patches': chunk .* is missing.*verify"):
        store.read_slices("patches", entry, [4, 2])


@pytest.mark.parametrize("wanted", [[7], [-1, 2]])
def test_slices_that_are_not_there_are_refused(stores, wanted):
    store = stores["folder"]
    with pytest.raises(StoreError, match="7 kept slices, counted from 0"):
        store.read_slices("cls", store.entries[0], wanted)
