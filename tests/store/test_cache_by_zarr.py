"""`verify --full` reads as any other program would, and says when that gives something else."""

import json

import pytest

from cache_schema.move.pack import pack
from cache_schema.verify import by_zarr
from cache_schema.verify.verify import verify_store


@pytest.fixture
def store(make_store, scan):
    return make_store([scan(f"sub-{n}", n_slices=n) for n in (2, 7, 3, 11)]).location


@pytest.mark.parametrize("packed", [False, True])
def test_a_sound_store_is_sound_for_zarr(store, packed, monkeypatch):
    if packed:
        pack(store)
    opened = []
    original = by_zarr.open_array
    monkeypatch.setattr(by_zarr, "open_array", lambda o, name: opened.append(name) or original(o, name))
    assert verify_store(store, full=True).problems == ()
    assert opened == ["cls", "patch_mean"]
    assert verify_store(store).problems == ()
    assert len(opened) == 2  # only the full check


def test_other_numbers_are_named(store, monkeypatch):
    original = by_zarr.open_array
    monkeypatch.setattr(by_zarr, "open_array", lambda objects, name: original(objects, "patch_mean"))
    (problem,) = verify_store(store, full=True).problems
    assert problem.array == "cls"
    assert "reads other numbers of sub-" in problem.problem


def test_what_zarr_cannot_open_is_named(store, tmp_path):
    file = tmp_path / "cohort.zarr" / "cls" / "zarr.json"
    metadata = json.loads(file.read_text())
    metadata["dimension_names"] = [1, 2, 3]
    file.write_text(json.dumps(metadata))
    problems = verify_store(store, full=True).problems
    assert {problem.array for problem in problems} == {"cls"}
