"""What matches every hash and is wrong all the same: only a look at the whole cohort finds it."""

import json
import os
import shutil

import numpy as np
import pytest
from made_up_store import example_arrays, example_draft, example_header, example_key, example_row

from cache_schema.format.canonical import canonical_json
from cache_schema.format.layout import failure_name, record_name
from cache_schema.format.record import Failure, VolumeRecord
from cache_schema.store.seal import seal
from cache_schema.store.writer import StoreWriter
from cache_schema.verify.contents import FACTOR, ROBUST_SDS, out_of_range
from cache_schema.verify.verify import verify_store

KEYS = [example_key(i) for i in range(10)]
HEADER = example_header(("cls", "patch_mean", "patches"), slice_chunk=4)


def embeddings(number, n=6):
    """Numbers whose norms are alike, as those of a backbone are."""
    arrays = example_arrays(HEADER, n, number)
    return {
        name: values + np.float32(9) if spec.dims[-1] == "dim" else abs(values)
        for spec in HEADER.arrays
        for name, values in [(spec.name, arrays[spec.name])]
    }


def write(location, change=None):
    writer = StoreWriter.open(location, HEADER, [example_row(key, 6) for key in KEYS])
    for number, key in enumerate(KEYS):
        arrays = embeddings(number)
        if number == 4 and change is not None:
            change(arrays)
        writer.commit(example_draft(key, 6), arrays)
    return location


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    return write(str(tmp_path_factory.mktemp("pristine") / "store.zarr"))


@pytest.fixture
def location(pristine, tmp_path):
    return shutil.copytree(pristine, str(tmp_path / "store.zarr"))


def found(location):
    return {(p.volume, p.array) for p in verify_store(location, full=True).problems}


def test_nothing_is_wrong_with_a_sound_store(location):
    assert verify_store(location, full=True).problems == ()
    seal(location)
    assert verify_store(location, full=True).ok


@pytest.mark.parametrize("name", ["cls", "patches"])
def test_zero_tokens(tmp_path, name):
    def change(arrays):
        arrays[name][2].reshape(-1, arrays[name].shape[-1])[-1] = 0

    location = write(str(tmp_path / "s"), change)
    assert verify_store(location).ok
    (problem,) = verify_store(location, full=True).problems
    assert (problem.volume, problem.array) == ("p004/T1w", name)
    assert "1 of 6 kept slices hold a token that is all zero" in problem.problem


@pytest.mark.parametrize(("factor", "strange"), [(4, True), (0.25, True), (1.5, False)])
def test_norms_out_of_the_cohort_s_range(tmp_path, factor, strange):
    def change(arrays):
        arrays["patch_mean"][3] *= factor

    location = write(str(tmp_path / "s"), change)
    problems = verify_store(location, full=True).problems
    assert [(p.volume, p.array) for p in problems] == [("p004/T1w", "patch_mean")] * strange
    assert verify_store(location).ok


def test_the_rule_for_norms_by_hand():
    logs = [1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 9.0]
    middle = 1.35
    spread = 1.4826 * np.median([abs(x - middle) for x in logs])
    limit = max(ROBUST_SDS * spread, np.log(FACTOR))
    values = {KEYS[i]: float(np.exp(x)) for i, x in enumerate(logs)}
    ((key, value, low, high),) = out_of_range(values)
    assert key == KEYS[7]
    np.testing.assert_allclose([value, low, high], np.exp([9.0, middle - limit, middle + limit]))
    del values[KEYS[0]]
    assert out_of_range(values) == []  # seven volumes have no range


def test_duplicated_volumes(tmp_path):
    location = str(tmp_path / "s")
    writer = StoreWriter.open(location, HEADER, [example_row(key, 6) for key in KEYS[:4]])
    for number, key in enumerate(KEYS[:4]):
        arrays = embeddings({3: 1}.get(number, number))
        if number == 2:
            arrays["cls"] = embeddings(0)["cls"]  # only one array is somebody else's
        writer.commit(example_draft(key, 6), arrays)
    assert verify_store(location).ok
    texts = {(p.volume, p.array): p.problem for p in verify_store(location, full=True).problems}
    assert texts.keys() == {
        ("p001/T1w", "cls, patch_mean, patches"),
        ("p003/T1w", "cls, patch_mean, patches"),
        ("p000/T1w", "cls"),
        ("p002/T1w", "cls"),
    }
    assert "the numbers of p003/T1w" in texts["p001/T1w", "cls, patch_mean, patches"]


def test_statistics_that_are_not_those_of_the_numbers(location):
    path = f"{location}/{record_name(KEYS[5])}"
    with open(path, "rb") as file:
        record = VolumeRecord.model_validate(json.load(file))
    tokens = record.tokens | {"cls": record.tokens["cls"] | {"norm_max": 99.0}}
    with open(path, "wb") as file:
        file.write(
            canonical_json(record.model_copy(update={"tokens": tokens}).signed().model_dump(mode="json"))
        )
    assert verify_store(location).ok
    assert found(location) == {("p005/T1w", "cls")}


def test_data_without_a_record(location):
    os.unlink(f"{location}/{record_name(KEYS[7])}")
    os.unlink(f"{location}/cls/c.7.0.0")
    verification = verify_store(location)
    assert verification.ok
    assert verification.notes == ("1 of 10 volumes of the table are not committed",)
    assert found(location) == {("p007/T1w", spec.name) for spec in HEADER.arrays}
    texts = {p.array: p.problem for p in verify_store(location, full=True).problems}
    assert texts["cls"] == "data without a record: 1 chunk in row 7"
    assert texts["patch_mean"] == "data without a record: 2 chunks in row 7"


def test_record_without_data(location):
    for spec in HEADER.arrays:
        for block in (0, 1):
            os.unlink(f"{location}/{spec.name}/c.6.{block}" + ".0" * len(spec.item_shape))
    assert found(location) == {("p006/T1w", spec.name) for spec in HEADER.arrays}


def test_objects_that_belong_to_nobody(location):
    for name in ("cls/c.12.0.0", "cls/notes.txt", "previews/ab/abc.png"):
        os.makedirs(os.path.dirname(f"{location}/{name}"), exist_ok=True)
        with open(f"{location}/{name}", "wb") as file:
            file.write(b"x")
    assert found(location) == {
        ("row 12, which the table does not have", "cls"),
        ("", "cls"),
        ("", "previews"),
    }


def test_a_volume_that_is_committed_and_failed(location):
    failure = Failure(participant_id="p003", session_id="", volume_id="T1w", path="x", reason="why")
    os.makedirs(f"{location}/failures")
    with open(f"{location}/{failure_name(failure.key)}", "wb") as file:
        file.write(canonical_json(failure.model_dump(mode="json")))
    assert found(location) == {("p003/T1w", "failures")}
