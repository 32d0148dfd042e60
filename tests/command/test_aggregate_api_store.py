"""A store looked at from Python: tables, numpy, torch, dask, xarray, in every form a store has."""

import pickle
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import slicecache as sc
from aggregate.api.store import Store
from cache_schema.move.export import export_store
from cache_schema.store.reader import StoreReader
from cache_schema.store.seal import seal

LENGTHS = (3, 7, 2, 5)
Make = Callable[[Sequence[Any]], StoreReader]


@pytest.fixture
def location(make_store: Make, scan: type) -> str:
    """Four volumes of three participants."""
    people = ("a", "b", "b", "c")
    scans = [scan(p, f"{i}", n_slices=n) for i, (p, n) in enumerate(zip(people, LENGTHS, strict=True))]
    return make_store(scans).location


@pytest.fixture(params=["zarr", "zip", "h5", "url"])
def store(request: pytest.FixtureRequest, location: str, tmp_path: Path, serve: Any) -> Store:
    """The same store as a folder, by its URL, zipped, and exported to one file."""
    if request.param == "h5":
        export_store(location, str(tmp_path / "store.h5"))
        return sc.open(tmp_path / "store.h5")
    if request.param == "zip":
        return sc.open(shutil.make_archive(str(tmp_path / "store"), "zip", location))
    if request.param == "url":
        seal(location)
        return sc.open(serve(location).url)
    return sc.open(location)


def test_the_repr_says_what_is_in_it(location: str) -> None:
    told = repr(sc.open(location))
    for words in (location, "4 of 3 participants", "17, 2 to 7 per volume", "cls (volume, slice, dim; 7)"):
        assert words in told
    assert sc.open(location).fingerprint[:12] in told
    assert "<table>" in sc.open(location)._repr_html_()


def test_tables(store: Store) -> None:
    assert store.volumes["participant_id"].tolist() == ["a", "b", "b", "c"]
    assert store.volumes["n_slices"].tolist() == list(LENGTHS)
    assert store.records["entities.contrast"].tolist() == ["T1w"] * 4
    assert [len(heights) for heights in store.records["slices.height_mm"]] == list(LENGTHS)
    assert store.failures.empty
    assert len(store) == 4
    assert store.arrays == ("cls", "patch_mean")


def test_tokens_are_what_the_reader_gives(store: Store) -> None:
    bags = store.tokens("cls")
    assert bags.shape == (4, 7, 7)
    assert bags.keep.sum(1).tolist() == list(LENGTHS)
    np.testing.assert_array_equal(np.isfinite(bags.x).all(-1), bags.keep)
    for place, entry in enumerate(store.reader.entries):
        own = store.reader.read_volume("cls", entry.key)
        np.testing.assert_array_equal(bags.x[place, : len(own)], own)
        heights = store.records["slices.height_mm"][place]
        np.testing.assert_array_equal(bags.height_mm[place, : len(own)], np.float32(heights))
    assert bags.participant_id is not None
    assert bags.participant_id.tolist() == ["a", "b", "b", "c"]


def test_some_volumes_by_place_mask_and_slice(location: str) -> None:
    store = sc.open(location)
    mask = store.volumes["participant_id"] == "b"
    for chosen in ([1, 2], mask, mask.tolist(), slice(1, 3)):
        own = store.tokens("cls", chosen)
        assert own.keep.sum(1).tolist() == [7, 2]
    with pytest.raises(sc.ConfigError, match="4 volumes"):
        store.tokens("cls", [4])
    with pytest.raises(sc.StoreError, match="no array 'clz'"):
        store.tokens("clz")


def test_bags_are_indexed_as_an_array_is(location: str) -> None:
    bags = sc.open(location).tokens("cls")
    for rows in ([2, 0], (np.array([2, 0]), ...)):
        own = bags[rows]
        np.testing.assert_array_equal(own.x, bags.x[[2, 0]])
        np.testing.assert_array_equal(own.height_mm, bags.height_mm[[2, 0]])
    np.testing.assert_array_equal(np.asarray(bags), bags.x)
    with pytest.raises(IndexError, match="first axis"):
        bags[0, 1]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_dataloader_gives_padded_batches(location: str, workers: int) -> None:
    store = sc.open(location)
    data = store.to_torch("cls")
    assert len(data) == 4
    assert data[0].x.shape == (3, 7)
    assert len(pickle.dumps(data)) < 2000, "an open store travelled along"
    context = "spawn" if workers else None
    loader = DataLoader(
        data, batch_size=3, collate_fn=sc.collate_bags, num_workers=workers, multiprocessing_context=context
    )
    first, second = loader
    assert first.x.shape == (3, 7, 7)
    assert first.x.dtype == torch.float32
    assert first.keep.sum(1).tolist() == [3, 7, 2]
    assert [key.participant_id for key in first.key] == ["a", "b", "b"]
    assert second.keep.tolist() == [[True] * 5]
    whole = np.nan_to_num(store.tokens("cls").x[:3])
    np.testing.assert_array_equal(first.x.numpy(), whole.astype(np.float32))


def test_dask_reads_blocks_of_volumes_when_asked(location: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("dask.array")
    store, asked = sc.open(location), []
    read = StoreReader.read

    def counted(self: StoreReader, name: str, entries: Any = None) -> Any:
        asked.append(len(entries))
        return read(self, name, entries)

    monkeypatch.setattr(StoreReader, "read", counted)
    lazy = store.to_dask("cls", volumes_per_block=3)
    assert lazy.shape == (4, 7, 7)
    assert lazy.chunks[0] == (3, 1)
    assert not asked, "an array was read before it was computed"
    last = lazy[3:].compute(scheduler="synchronous")
    assert asked == [1]
    np.testing.assert_array_equal(last, store.tokens("cls").x[3:])
    np.testing.assert_array_equal(lazy.compute(scheduler="synchronous"), store.tokens("cls").x)


def test_xarray_names_the_axes(store: Store) -> None:
    pytest.importorskip("xarray")
    pytest.importorskip("dask.array")
    found = store.to_xarray()
    assert found["cls"].dims == ("volume", "slice", "dim")
    assert found["cls"].attrs == {}
    assert found.attrs["fingerprint"] == store.fingerprint
    means = found["patch_mean"].where(found["keep"]).mean(("slice", "dim")).compute()
    expected = np.nanmean(store.tokens("patch_mean").x.astype(np.float32), axis=(1, 2))
    np.testing.assert_allclose(means, expected, rtol=1e-2)


def test_without_xarray_or_dask_one_sentence_says_what_to_install(
    location: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "dask.array", None)
    monkeypatch.setitem(sys.modules, "xarray", None)
    store = sc.open(location)
    with pytest.raises(sc.ConfigError, match=r"pip install 'dask\[array\]'"):
        store.to_dask("cls")
    with pytest.raises(sc.ConfigError, match=r"pip install 'slicecache\[interop\]'"):
        store.to_xarray()


def test_verify_takes_an_open_store(location: str) -> None:
    assert sc.verify(sc.open(location)).ok
    assert sc.verify(location, full=True).n_volumes == 4


def test_no_store_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(sc.StoreError, match="there is no store"):
        sc.open(tmp_path / "absent.zarr")
