"""Every damage is found, and named by volume and array."""

import json
import os
import re
import shutil
from pathlib import Path

import pytest
from made_up_store import example_arrays, example_draft, example_header, example_key, example_row

from cache_schema.common.errors import StoreError
from cache_schema.format.canonical import canonical_json
from cache_schema.format.layout import record_name
from cache_schema.format.record import VolumeRecord
from cache_schema.store.reader import open_store
from cache_schema.store.writer import StoreWriter
from cache_schema.verify.verify import verify_store

KEYS = [example_key(i) for i in range(4)]
ARRAYS = ("cls", "patch_mean", "patches", "cls_attention", "foreground", "patch_intensity")


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    location = str(tmp_path_factory.mktemp("pristine") / "store.zarr")
    header = example_header(("cls", "patch_mean", "patches", "cls_attention"), slice_chunk=5)
    rows = [example_row(key, 7 if number else 13) for number, key in enumerate(KEYS)]
    writer = StoreWriter.open(location, header, rows)
    for number, key in enumerate(KEYS[:3]):
        writer.commit(example_draft(key, 7), example_arrays(header, 7, number))
    return location


@pytest.fixture
def location(pristine, tmp_path):
    shutil.copytree(pristine, tmp_path / "store.zarr")
    return str(tmp_path / "store.zarr")


def flip(path, offset=40):
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 4]))


def edit(path, old, new):
    with open(path, "rb") as file:
        text = file.read()
    assert old in text
    with open(path, "wb") as file:
        file.write(text.replace(old, new, 1))


def found(location):
    return {(p.volume, p.array) for p in verify_store(location).problems}


def chunk(location, name, row, block=1):
    rest = {"cls": 1, "patch_mean": 1, "patches": 3, "cls_attention": 3}.get(name, 2)
    return f"{location}/{name}/c.{row}.{block}" + ".0" * rest


def test_nothing_is_wrong_with_an_undamaged_store(location):
    verification = verify_store(location)
    assert verification.problems == ()
    assert verification.ok
    assert verification.n_volumes == 3
    assert verification.content_digest == open_store(location).content_digest()
    assert verification.notes == ("1 of 4 volumes of the table are not committed",)
    assert verification.bytes_read == sum(
        3 * 7 * size * 2 for size in (7, 7, 3 * 5 * 7, 2 * 3 * 5, 3 * 5, 3 * 5)
    )
    with pytest.raises(StoreError, match="there is no store"):
        verify_store(location + "x")


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize("damage", ["flipped", "truncated", "zero-length", "missing", "longer"])
def test_damaged_chunks(location, name, damage):
    path = chunk(location, name, 1)
    size = os.path.getsize(path)
    if damage == "flipped":
        flip(path)
    elif damage == "missing":
        os.unlink(path)
    elif damage == "longer":
        with open(path, "ab") as file:
            file.write(b"x")
    else:
        os.truncate(path, {"truncated": size - 5, "zero-length": 0}[damage])
    assert found(location) == {("p001/T1w", name)}
    with pytest.raises(StoreError, match=f"volume p001/T1w, array '{name}': chunk {name}/c.1.1"):
        open_store(location).read(name)


def test_chunks_swapped_between_two_volumes(location):
    a, b = chunk(location, "cls", 0), chunk(location, "cls", 2)
    os.rename(a, a + "x")
    os.rename(b, a)
    os.rename(a + "x", b)
    assert found(location) == {("p000/T1w", "cls"), ("p002/T1w", "cls")}


def test_numbers_written_by_another_hand_with_a_right_checksum(location):
    import zarr

    zarr.open_array(f"{location}/patch_mean", mode="r+")[1, 3, 2] = 0.25
    assert found(location) == {("p001/T1w", "patch_mean")}
    zarr.open_array(f"{location}/patch_mean", mode="r+")[2, 8, 2] = 0.25
    assert found(location) == {("p001/T1w", "patch_mean"), ("p002/T1w", "patch_mean")}
    assert "beyond the 7 kept ones" in verify_store(location).problems[-1].problem


def test_edited_header(location):
    edit(f"{location}/header.json", b'"high":99.5', b'"high":99.0')
    problems = verify_store(location).problems
    assert [(p.volume, p.array) for p in problems] == [("", "header.json")]
    assert "does not match its own hash" in problems[0].problem
    with pytest.raises(StoreError, match="does not match its own hash"):
        open_store(location)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"null", b'{"header": {}, "sha256": ""}'])
def test_broken_header(location, content):
    with open(f"{location}/header.json", "wb") as file:
        file.write(content)
    assert found(location) == {("", "header.json")}


def test_one_digit_edited_in_a_record(location):
    edit(f"{location}/{record_name(KEYS[1])}", b'"millilitres":3100.5', b'"millilitres":3100.6')
    assert found(location) == {("p001/T1w", "record")}
    with pytest.raises(StoreError, match="does not match its own hash"):
        open_store(location)
    with pytest.raises(StoreError, match=r"p001/T1w.*does not match its own hash"):
        StoreWriter.open(location, example_header(ARRAYS[:4], slice_chunk=5), []).record(KEYS[1])


def test_a_digit_that_changes_no_number_is_an_edit_all_the_same(location):
    path = Path(location) / record_name(KEYS[1])
    data = path.read_bytes()
    for number in re.finditer(rb"\d\.\d{15,16}(?=[,}\]])", data):
        for digit in b"0123456789":
            edited = number.group()[:-1] + bytes([digit])
            if edited != number.group() and float(edited) == float(number.group()):
                path.write_bytes(data[: number.start()] + edited + data[number.end() :])
                problems = {(p.volume, p.array) for p in verify_store(location).problems}
                assert (str(KEYS[1]), "record") in problems
                return
    pytest.fail("no number of the record has a spare digit")


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"null"])
def test_broken_record(location, content):
    with open(f"{location}/{record_name(KEYS[1])}", "wb") as file:
        file.write(content)
    assert found(location) == {("p001/T1w", "record")}


def rewrite_record(location, key, **changes):
    """Edit a record and sign it anew, as somebody who means to deceive, or a faulty writer, would."""
    path = f"{location}/{record_name(key)}"
    with open(path, "rb") as file:
        record = VolumeRecord.model_validate(json.load(file))
    with open(path, "wb") as file:
        file.write(canonical_json(record.model_copy(update=changes).signed().model_dump(mode="json")))


def test_a_record_that_claims_another_row(location):
    rewrite_record(location, KEYS[1], row=2)
    problems = {(p.volume, p.array, p.problem) for p in verify_store(location).problems}
    assert ("p001/T1w", "record", "the record says row 2, the table 1") in problems
    assert ("p001/T1w", "cls") in found(location)


def test_a_record_that_claims_more_or_fewer_slices(location):
    with open(f"{location}/{record_name(KEYS[1])}", "rb") as file:
        slices = VolumeRecord.model_validate(json.load(file)).slices
    longer = slices.model_copy(update={"index": (*slices.index, 99)})
    rewrite_record(location, KEYS[1], slices=longer)
    texts = {p.problem for p in verify_store(location).problems if p.array in ("cls", "record")}
    (text,) = texts
    assert text.endswith("slice indices, heights and world z have different lengths [7, 8]")
    shorter = {name: getattr(slices, name)[:-1] for name in ("index", "height_mm", "world_z_mm")}
    rewrite_record(location, KEYS[1], slices=slices.model_copy(update=shorter))
    assert found(location) == {("p001/T1w", name) for name in ARRAYS}


def test_a_record_under_another_name(location):
    name = f"{location}/{record_name(KEYS[3])}"
    os.makedirs(os.path.dirname(name), exist_ok=True)
    shutil.copy(f"{location}/{record_name(KEYS[1])}", name)
    assert ("p001/T1w", "record") in found(location)


@pytest.mark.parametrize("content", [b"", b"{}", None])
def test_damaged_table(location, content):
    path = f"{location}/table/000000.json"
    if content is None:
        edit(path, b"sub-p001/anat", b"sub-p009/anat")
    else:
        with open(path, "wb") as file:
            file.write(content)
    assert ("", "table") in found(location)


def test_missing_segment_and_double_row(location):
    header = open_store(location).header
    StoreWriter.open(location, header, [example_row(example_key(8), 7)])
    StoreWriter.open(location, header, [example_row(example_key(9), 7)])
    assert verify_store(location).ok
    second, third = (f"{location}/table/00000{i}.json" for i in (1, 2))
    with open(second, "rb") as file:
        segment = file.read()
    os.unlink(second)
    assert found(location) == {("", "table")}
    os.rename(third, second)
    assert found(location) == {("", "table")}  # it begins one row too late
    with open(second, "wb") as file:
        file.write(segment)
    assert not any(array == "table" for _, array in found(location))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("data_type", "float32"),
        ("shape", [4, 13, 8]),
        ("dimension_names", ["a", "b", "c"]),
        ("fill_value", 0),
    ],
)
def test_array_metadata_that_contradict_the_header(location, key, value):
    path = f"{location}/cls/zarr.json"
    with open(path, "rb") as file:
        meta = json.load(file)
    meta[key] = value
    with open(path, "wb") as file:
        file.write(canonical_json(meta))
    assert found(location) == {("", "cls")}
    with pytest.raises(StoreError, match="array 'cls'"):
        open_store(location).read("cls")


@pytest.mark.parametrize("name", ["zarr.json", "cls/zarr.json"])
def test_missing_metadata(location, name):
    os.unlink(f"{location}/{name}")
    assert found(location) == {("", "zarr.json" if name == "zarr.json" else "cls")}


def test_damaged_failure(location):
    os.makedirs(f"{location}/failures", exist_ok=True)
    with open(f"{location}/failures/{KEYS[3].digest}.json", "wb") as file:
        file.write(b"{")
    assert found(location) == {("", "failures")}


def test_every_problem_is_named_and_says_what_to_do(location):
    flip(chunk(location, "cls", 0))
    flip(chunk(location, "patches", 2))
    edit(f"{location}/{record_name(KEYS[1])}", b'"row":1', b'"row":2')
    problems = verify_store(location).problems
    assert {(p.volume, p.array) for p in problems} == {
        ("p000/T1w", "cls"),
        ("p002/T1w", "patches"),
        ("p001/T1w", "record"),
    }
    assert all(p.advice for p in problems)
