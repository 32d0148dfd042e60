"""Writing: commits, refusals, replacing, appending, interruptions."""

import json
import os

import numpy as np
import pytest
from made_up_store import example_arrays, example_draft, example_header, example_key, example_row

from cache_schema.common.errors import StoreError, StoreMismatch, VolumeError
from cache_schema.files.objects import LocalObjects
from cache_schema.format.layout import record_name
from cache_schema.format.record import Failure
from cache_schema.store.reader import open_store, read_header
from cache_schema.store.writer import StoreWriter
from cache_schema.verify.verify import verify_store

KEYS = [example_key(i) for i in range(3)]


@pytest.fixture
def location(tmp_path):
    return str(tmp_path / "deep" / "store.zarr")


@pytest.fixture
def header():
    return example_header(("cls", "patches"), slice_chunk=6)


@pytest.fixture
def writer(location, header):
    return StoreWriter.open(location, header, [example_row(key, 6) for key in KEYS])


def commit(writer, key, n, seed=0, **changes):
    arrays = example_arrays(writer.header, n, seed)
    return writer.commit(example_draft(key, n, **changes), arrays), arrays


def assert_holds(location, key, arrays):
    store = open_store(location)
    for name, values in arrays.items():
        np.testing.assert_array_equal(store.read_volume(name, key), values.astype(np.float16))
    assert verify_store(location).problems == ()


def failure(key, reason="no reason"):
    return Failure(**dict(zip(("participant_id", "session_id", "volume_id"), key.as_list(), strict=True)),
                   path="x.nii.gz", reason=reason)  # fmt: skip


def test_nothing_there_has_no_header(tmp_path, location, header):
    assert read_header(location) is None
    (tmp_path / "empty").mkdir()
    assert read_header(str(tmp_path / "empty")) is None
    StoreWriter.open(str(tmp_path / "empty"), header, [])
    assert read_header(str(tmp_path / "empty")) == header
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").touch()
    with pytest.raises(StoreError, match="other things in it"):
        StoreWriter.open(str(tmp_path / "other"), header, [])
    with pytest.raises(StoreError, match="extract takes a folder or a bucket"):
        StoreWriter.open("https://somewhere/store", header, [])


def test_only_committed_volumes_are_there(location, writer):
    assert open_store(location).entries == ()
    record, arrays = commit(writer, KEYS[1], 5)
    assert [entry.key for entry in open_store(location).entries] == [KEYS[1]]
    assert record.row == writer.rows[KEYS[1]] == 1
    assert writer.record(KEYS[1]) == record
    assert writer.record(KEYS[0]) is None
    assert_holds(location, KEYS[1], arrays)


def test_a_crash_between_data_and_record_leaves_the_volume_uncommitted(location, writer, header, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("cache_schema.store.writer.encode_record", killed)
        with pytest.raises(KeyboardInterrupt):
            commit(writer, KEYS[0], 6, seed=1)
    assert os.path.exists(f"{location}/cls/c.0.0.0")
    assert open_store(location).entries == ()
    again = StoreWriter.open(location, header, [])
    assert again.record(KEYS[0]) is None
    _, arrays = commit(again, KEYS[0], 4, seed=2)
    assert_holds(location, KEYS[0], arrays)


def test_a_second_commit_keeps_the_first(location, writer):
    first, arrays = commit(writer, KEYS[0], 5, seed=1)
    second, _ = commit(writer, KEYS[0], 4, seed=2)
    assert second == first
    assert_holds(location, KEYS[0], arrays)


def test_a_twin_that_commits_other_numbers_meanwhile_is_replaced_whole(location, writer, header, monkeypatch):
    twin = StoreWriter.open(location, header, [])
    original = StoreWriter._write
    calls = []

    def write(self, record, stored, preview):
        assert self.record(record.key) is None  # nothing is written under a record
        original(self, record, stored, preview)
        if self is writer and not calls:
            calls.append(commit(twin, KEYS[0], 6, seed=8))

    monkeypatch.setattr(StoreWriter, "_write", write)
    record, arrays = commit(writer, KEYS[0], 5, seed=7)
    assert calls[0][0].digest != record.digest
    assert writer.record(KEYS[0]) == record
    assert_holds(location, KEYS[0], arrays)


@pytest.mark.parametrize("lengths", [(6, 2), (2, 6), (17, 3), (3, 17)])
def test_replacing_leaves_nothing_of_the_old(location, writer, lengths):
    commit(writer, KEYS[0], lengths[0], seed=1)
    commit(writer, KEYS[1], 5, seed=3)
    writer.remove_record(KEYS[0])
    assert [entry.key for entry in open_store(location).entries] == [KEYS[1]]
    _, arrays = commit(writer, KEYS[0], lengths[1], seed=2)
    assert_holds(location, KEYS[0], arrays)


def test_longer_volumes_can_be_appended_at_any_time(location, writer, header):
    _, old = commit(writer, KEYS[0], 6, seed=1)
    other = StoreWriter.open(location, header, [example_row(example_key(9), 29)])
    assert other.rows[example_key(9)] == 3
    assert open_store(location).layout("patches").shape == (4, 29, 3, 5, 7)
    _, long = commit(other, example_key(9), 29, seed=2)
    _, stale = commit(writer, KEYS[1], 4, seed=3)  # a writer that was open before
    assert_holds(location, KEYS[0], old)
    assert_holds(location, KEYS[1], stale)
    assert_holds(location, example_key(9), long)
    assert open_store(location).read("cls").shape == (3, 29, 7)


def test_rows_are_for_life(location, writer, header):
    again = StoreWriter.open(location, header, [example_row(k, 99) for k in (*KEYS[::-1], example_key(5))])
    assert dict(again.rows) == {**writer.rows, example_key(5): 3}
    assert [row.max_slices for row in open_store(location).table()] == [6, 6, 6, 99]
    assert len(os.listdir(f"{location}/table")) == 2
    StoreWriter.open(location, header, [example_row(KEYS[0], 6)])
    assert len(os.listdir(f"{location}/table")) == 2


def test_extents_put_back_by_a_slow_process_are_repaired(location, writer, header):
    stale = {}
    for name in ("cls", "patches"):
        with open(f"{location}/{name}/zarr.json", "rb") as file:
            stale[name] = file.read()

    def put_back():
        for name, data in stale.items():
            with open(f"{location}/{name}/zarr.json", "wb") as file:
                file.write(data)

    longer = StoreWriter.open(location, header, [example_row(example_key(9), 29)])
    put_back()
    assert verify_store(location).ok  # nothing is committed out there yet
    assert len(verify_store(location).notes) == 3
    _, arrays = commit(longer, example_key(9), 29)  # which repairs them
    assert_holds(location, example_key(9), arrays)
    put_back()
    assert {p.array for p in verify_store(location).problems} == {"cls", "patches"}
    np.testing.assert_array_equal(
        open_store(location).read_volume("cls", example_key(9)), arrays["cls"].astype(np.float16)
    )
    StoreWriter.open(location, header, [])
    assert_holds(location, example_key(9), arrays)


def test_extents_put_back_while_they_are_enlarged_are_repaired(location, writer, header, monkeypatch):
    original = LocalObjects.put
    others = []

    def put(self, name, data):
        before = self.get(name)
        original(self, name, data)
        if name == "cls/zarr.json" and not others:
            others.append(name)
            original(self, name, before)  # another process wrote what it had read before us

    monkeypatch.setattr(LocalObjects, "put", put)
    StoreWriter.open(location, header, [example_row(example_key(9), 29)])
    assert others
    assert open_store(location).layout("cls").shape == (4, 29, 7)


def test_duplicate_rows_are_refused_with_both_files(location, header):
    twice = [example_row(KEYS[0], 6), example_row(KEYS[0], 6).model_copy(update={"path": "b.nii"})]
    with pytest.raises(StoreError, match=r"p000/T1w is given twice: 'sub-p000/anat/T1w.nii.gz' and 'b.nii'"):
        StoreWriter.open(location, header, twice)
    assert read_header(location) is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"quantile": 99.0}, "preprocessing[percentile].high is 99.0 here and 99.5 there"),
        ({"weights": "other"}, "backbone.weights_sha256 is"),
        ({"compute": "bfloat16"}, "numerics.compute_dtype is 'bfloat16' here and 'float32' there"),
        ({"storage": "float32"}, "numerics.storage_dtype is 'float32' here and 'float16' there"),
        (
            {"tokens": ("cls",)},
            "(here): the arrays foreground, patch_intensity, patches are there only. Give this extraction a "
            "store of its own (cache.store), or ask for the arrays that it has (extract.tokens)",
        ),
        (
            {"tokens": ("patches", "patch_mean", "pooled")},
            "(here): the arrays patch_mean, pooled are here only; the array cls is there only. Give",
        ),
        ({"dim": 9}, "backbone.architecture.dim is 9 here and 7 there"),
    ],
)
def test_another_store_is_refused_naming_fields_and_both_values(location, writer, changes, said):
    asked = example_header(**{"tokens": ("cls", "patches"), "slice_chunk": 6} | changes)
    with pytest.raises(StoreMismatch) as refusal:
        StoreWriter.open(location, asked, [example_row(example_key(7), 6)])
    assert said in str(refusal.value)
    assert example_key(7) not in StoreWriter.open(location, writer.header, []).rows


def test_provenance_and_chunk_extent_may_differ(location, writer):
    asked = example_header(("cls", "patches"), slice_chunk=40, created={"host": "elsewhere"})
    again = StoreWriter.open(location, asked, [])
    assert again.header == writer.header
    assert again.header.slice_chunk == 6


def test_overflow_and_non_finite_values_are_that_volume_s_error(location, writer):
    arrays = example_arrays(writer.header, 5)
    arrays["cls"][3, 2] = 70_000.0
    with pytest.raises(VolumeError, match=r"cls reaches 7e\+04, which float16 cannot hold"):
        writer.commit(example_draft(KEYS[0], 5), arrays)
    arrays["cls"][3, 2] = np.nan
    with pytest.raises(VolumeError, match="cls holds values that are not finite"):
        writer.commit(example_draft(KEYS[0], 5), arrays)
    assert open_store(location).entries == ()


def test_float32_storage_keeps_what_float16_cannot(tmp_path):
    header = example_header(("cls",), storage="float32")
    writer = StoreWriter.open(str(tmp_path / "s"), header, [example_row(KEYS[0], 5)])
    arrays = {"cls": np.full((5, 7), 70_000.0, np.float32)}
    writer.commit(example_draft(KEYS[0], 5), arrays)
    np.testing.assert_array_equal(open_store(tmp_path / "s").read("cls")[0], arrays["cls"])


def test_mistakes_of_the_caller_are_refused(writer):
    arrays = example_arrays(writer.header, 5)
    with pytest.raises(StoreError, match="has no row"):
        writer.commit(example_draft(example_key(8), 5), arrays)
    with pytest.raises(StoreError, match=r"array 'cls' needs shape \(4, 7\), not \(5, 7\)"):
        writer.commit(example_draft(KEYS[0], 4), arrays)
    with pytest.raises(StoreError, match=r"not \['cls'\]"):
        writer.commit(example_draft(KEYS[0], 5), {"cls": arrays["cls"]})
    with pytest.raises(StoreError, match="keeps no slice"):
        writer.commit(example_draft(KEYS[0], 0), example_arrays(writer.header, 0))


def test_failures_are_kept_until_the_volume_is_committed(location, writer):
    writer.fail(failure(KEYS[2], "it is RGB"))
    writer.fail(failure(KEYS[0], "it is empty"))
    assert [f.key for f in writer.failures()] == [KEYS[0], KEYS[2]]
    assert [f.reason for f in open_store(location).failures()] == ["it is empty", "it is RGB"]
    commit(writer, KEYS[0], 5)
    assert writer.failure(KEYS[0]) is None
    assert [f.key for f in writer.failures()] == [KEYS[2]]


def test_object_names_tell_nothing_of_the_key(location, writer):
    commit(writer, KEYS[0], 5)
    name = record_name(KEYS[0])
    assert os.path.exists(f"{location}/{name}")
    assert name == f"records/{KEYS[0].digest[:2]}/{KEYS[0].digest}.json"
    names = [n for _, folders, files in os.walk(location) for n in (*folders, *files)]
    assert not [n for n in names if "p000" in n]


def test_group_and_header_are_plain_json(location, writer):
    with open(f"{location}/header.json", "rb") as file:
        stored = json.load(file)
    assert stored["sha256"] == writer.header.digest
    assert stored["header"]["fingerprint"]["plane"] == "axial"
    with open(f"{location}/zarr.json", "rb") as file:
        marker = json.load(file)["attributes"]["slicecache"]
    assert marker == {"format": "slicecache", "version": 1, "header": "header.json"}


def test_a_store_of_another_version_is_refused(location, writer):
    path = f"{location}/header.json"
    with open(path, "rb") as file:
        text = file.read().replace(b'"version":1', b'"version":2')
    with open(path, "wb") as file:
        file.write(text)
    with pytest.raises(StoreError, match="version 2; this program reads 'slicecache', version 1"):
        open_store(location)
