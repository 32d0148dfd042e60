"""A part of a store is a store: some participants, some arrays."""

import shutil

import numpy as np
import pytest
from made_up_centres import fill, people, sound
from made_up_store import (
    example_header,
)

from cache_schema.common.errors import ConfigError, StoreError
from cache_schema.format.identity import VolumeKey
from cache_schema.move.merging.subset import subset_store
from cache_schema.store.reader import open_store


def test_a_subset_by_ids_and_by_tables(tmp_path):
    keys = {n: VolumeKey(f"sub-{n // 2}", f"ses-{n % 2}", "T1w") for n in range(6)}
    store = fill(tmp_path / "s", range(6), keys=keys)
    table = tmp_path / "who.tsv"
    table.write_text("age\tparticipant_id\tsession_id\n30\t0\t1\n40\tsub-2\t\n50\tsub-9\t\n")
    made, unmatched = subset_store(store, str(tmp_path / "t"), participants=[str(table)])
    assert ([str(e.key) for e in sound(made.location).entries], unmatched) == (
        ["sub-0/ses-1/T1w", "sub-2/ses-0/T1w", "sub-2/ses-1/T1w"],
        1,
    )
    made, unmatched = subset_store(store, str(tmp_path / "i"), participants=["1", str(table)])
    assert people(made.location) == ["sub-0", "sub-1", "sub-1", "sub-2", "sub-2"]
    with pytest.raises(ConfigError, match="no volume of 'sub-7'"):
        subset_store(store, str(tmp_path / "x"), participants=["sub-7"])
    for text, said in (
        ("who\nsub-1\n", "no column 'participant_id'"),
        ("participant_id,a\nx\n", "line 2 .* 1 cells"),
    ):
        (tmp_path / "bad.csv").write_text(text)
        with pytest.raises(ConfigError, match=said):
            subset_store(store, str(tmp_path / "x"), participants=[str(tmp_path / "bad.csv")])
    with pytest.raises(ConfigError, match="say what to keep"):
        subset_store(store, str(tmp_path / "x"))


def test_a_subset_of_arrays_is_another_store_of_the_same_fingerprint(tmp_path):
    header = example_header(("cls", "patch_mean", "patches"), slice_chunk=5)
    store = fill(tmp_path / "s", range(3), header=header)
    only = fill(tmp_path / "only", range(3), header=example_header(("cls", "patch_mean"), slice_chunk=5))
    for path in (tmp_path / "s" / "patches").glob("c.*"):
        path.write_bytes(b"")  # not read, so not missed
    with pytest.raises(StoreError, match="no array 'clss'"):
        subset_store(store, str(tmp_path / "x"), arrays=["clss"])
    made, _ = subset_store(store, str(tmp_path / "out"), arrays=["patch_mean", "cls"])
    out, other = sound(made.location), open_store(only)
    assert [spec.name for spec in out.header.arrays] == ["cls", "patch_mean"]
    assert out.header.fingerprint == other.header.fingerprint
    np.testing.assert_array_equal(out.read("cls"), other.read("cls"))


def test_swapped_numbers_do_not_pass_into_a_subset_of_arrays(tmp_path):
    store = fill(tmp_path / "s", range(3))
    cls = tmp_path / "s" / "cls"
    shutil.copy(cls / "c.0.0.0", cls / "c.2.0.0")
    with pytest.raises(StoreError, match=r"p002/T1w, array 'cls'.*SHA-256"):
        subset_store(store, str(tmp_path / "x"), arrays=["cls"])
