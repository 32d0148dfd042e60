"""A sealed store says the same as an open one; any write takes the seal off."""

import os

import numpy as np
import pytest
from made_up_store import example_arrays, example_draft, example_header, example_key, example_row

from cache_schema.common.errors import StoreError
from cache_schema.format.record import Failure
from cache_schema.store.commit import encode_record
from cache_schema.store.reader import open_store
from cache_schema.store.seal import seal
from cache_schema.store.writer import StoreWriter
from cache_schema.verify.verify import verify_store

KEYS = [example_key(i, f"s{i % 2}") for i in range(4)]


@pytest.fixture
def header():
    return example_header(("cls",))


@pytest.fixture
def location(tmp_path, header):
    location = str(tmp_path / "store.zarr")
    writer = StoreWriter.open(location, header, [example_row(key, 9) for key in KEYS])
    for number, key in enumerate(KEYS[::-1]):
        writer.commit(example_draft(key, 3 + number), example_arrays(header, 3 + number, number))
    return location


def test_sealed_equals_open(location):
    before = open_store(location)
    seal(location)
    after = open_store(location)
    assert (before.sealed, after.sealed) == (False, True)
    assert after.entries == before.entries
    assert list(after.records()) == list(before.records())
    assert after.content_digest() == before.content_digest()
    np.testing.assert_array_equal(after.read("cls"), before.read("cls"))
    assert after.record(KEYS[2]) == before.record(KEYS[2])
    assert verify_store(location).problems == ()


def failure(key):
    return Failure(**dict(zip(("participant_id", "session_id", "volume_id"), key.as_list(), strict=True)),
                   path="x.nii.gz", reason="why")  # fmt: skip


@pytest.mark.parametrize("act", ["commit", "append", "remove", "fail"])
def test_every_write_takes_the_seal_off(location, header, act):
    new = example_key(8)
    if act == "commit":
        writer = StoreWriter.open(location, header, [example_row(new, 9)])
        writer.fail(failure(new))
        seal(location)
        writer.commit(example_draft(new, 5), example_arrays(header, 5))
    else:
        seal(location)
        rows = [example_row(new, 9)] if act == "append" else []
        writer = StoreWriter.open(location, header, rows)
        if act == "remove":
            writer.remove_record(KEYS[0])
        if act == "fail":
            writer.fail(failure(KEYS[0]))
    store = open_store(location)
    assert not store.sealed
    assert len(store.entries) == {"commit": 5, "append": 4, "remove": 3, "fail": 4}[act]
    assert not os.path.exists(f"{location}/sealed/records.jsonl")


def test_opening_without_new_volumes_keeps_the_seal(location, header):
    seal(location)
    StoreWriter.open(location, header, [example_row(KEYS[0], 9)])
    assert open_store(location).sealed


def test_an_incomplete_store_is_not_sealed(location, header):
    writer = StoreWriter.open(location, header, [example_row(example_key(8), 9)])
    with pytest.raises(StoreError, match=r"1 volume neither committed nor failed, the first p008/T1w"):
        seal(location)
    assert not open_store(location).sealed
    writer.fail(failure(example_key(8)))
    seal(location)
    assert open_store(location).sealed


@pytest.mark.parametrize("act", ["commit", "replace"])
def test_sealing_while_somebody_writes_hides_nothing(location, header, act, monkeypatch):
    new = example_key(8)
    writer = StoreWriter.open(location, header, [example_row(new, 9)])
    writer.fail(failure(new))
    original = seal.__globals__["sealed_index"]

    def index(*arguments):
        key = new if act == "commit" else KEYS[0]
        writer.remove_record(key)
        writer.commit(example_draft(key, 7), example_arrays(header, 7, 99))
        return original(*arguments)

    monkeypatch.setitem(seal.__globals__, "sealed_index", index)
    with pytest.raises(StoreError, match="is being written to"):
        seal(location)
    store = open_store(location)
    assert not store.sealed
    assert store.entry(new if act == "commit" else KEYS[0]).n_slices == 7
    assert verify_store(location).ok


def test_a_seal_put_between_data_and_record_is_taken_off(location, header, monkeypatch):
    new = example_key(8)
    writer = StoreWriter.open(location, header, [example_row(new, 9)])
    writer.fail(failure(new))
    original = encode_record

    def encode(record):
        seal(location)
        return original(record)

    monkeypatch.setattr("cache_schema.store.writer.encode_record", encode)
    writer.commit(example_draft(new, 7), example_arrays(header, 7, 99))
    assert open_store(location).entry(new).n_slices == 7


def edit(path, old, new):
    with open(path, "rb") as file:
        text = file.read()
    assert old in text
    with open(path, "wb") as file:
        file.write(text.replace(old, new, 1))


def test_an_edited_index_is_refused(location):
    seal(location)
    edit(f"{location}/sealed/index.json", b'"row":[0,', b'"row":[1,')
    with pytest.raises(StoreError, match="does not match its own hash"):
        open_store(location)
    assert [p.array for p in verify_store(location).problems] == ["sealed"]


def test_edited_sealed_records_are_found(location):
    seal(location)
    edit(f"{location}/sealed/records.jsonl", b'"millilitres":3100.5', b'"millilitres":3100.6')
    with pytest.raises(StoreError, match="does not match its own hash"):
        list(open_store(location).records())
    assert [p.array for p in verify_store(location).problems] == ["sealed"]


def test_a_record_deleted_behind_the_seal_is_found(location):
    seal(location)
    name = next(f"{folder}/{files[0]}" for folder, _, files in os.walk(f"{location}/records") if files)
    os.unlink(name)
    problems = verify_store(location).problems
    assert len(problems) == 1
    assert "its record is missing" in problems[0].problem
