"""An export is the store: same numbers, same digests, less gossip; and it appears whole or not at all."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from leftovers import dead_token
from made_up_store import (
    example_arrays,
    example_draft,
    example_header,
    example_key,
    example_row,
    tiny_png,
    zipped,
)

from cache_schema.common.errors import StoreError
from cache_schema.files.h5 import apart, objects
from cache_schema.files.locate import open_objects
from cache_schema.format import layout
from cache_schema.move.export import export_store, import_store
from cache_schema.move.pack import pack
from cache_schema.store.reader import open_store
from cache_schema.store.writer import StoreWriter
from cache_schema.verify.verify import verify_store

SECRETS = ("secret-host", "secret-command", "anat", "sub-p")


def fill(location, header, lengths, missing=()):
    keys = [example_key(i) for i in range(len(lengths))]
    rows = [example_row(key, n) for key, n in zip(keys, lengths, strict=True)]
    writer = StoreWriter.open(str(location), header, rows)
    for number, (key, n) in enumerate(zip(keys, lengths, strict=True)):
        if number not in missing:
            writer.commit(example_draft(key, n), example_arrays(header, n, number), tiny_png(number))
    return open_store(location)


@pytest.fixture
def store(tmp_path):
    created = {"host": "secret-host", "command": ["secret-command"], "time": "2026-01-02", "batch_size": 8}
    created["configuration"] = {"input": "/secret-host/anat"}
    header = example_header(("cls", "patches"), slice_chunk=5, created=created)
    return fill(tmp_path / "s", header, [3, 11, 5, 7], missing={2})


def same_numbers(one, other):
    assert [entry.key for entry in one.entries] == [entry.key for entry in other.entries]
    for spec in one.header.arrays:
        np.testing.assert_array_equal(one.read(spec.name), other.read(spec.name))


@given(
    tokens=st.lists(st.sampled_from(layout.TOKENS), min_size=1, unique=True),
    storage=st.sampled_from(["float16", "float32"]),
    grid=st.tuples(st.integers(1, 4), st.integers(1, 3)),
    dim=st.integers(1, 7),
    slice_chunk=st.integers(1, 9),
    lengths=st.lists(st.integers(1, 13), min_size=1, max_size=4),
    missing=st.sets(st.integers(1, 3)),
    chunk_bytes=st.sampled_from([64, 300, 4 * 1024 * 1024]),
)
@settings(max_examples=20, deadline=None)
def test_round_trips_keep_every_number_and_both_digests(
    tokens, storage, grid, dim, slice_chunk, lengths, missing, chunk_bytes
):
    header = example_header(tokens, dim=dim, grid=grid, storage=storage, slice_chunk=slice_chunk)
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "MAX_CHUNK_BYTES", chunk_bytes)
        original = fill(f"{folder}/s", header, lengths, missing)
        export_store(f"{folder}/s", f"{folder}/x.h5")
        import_store(f"{folder}/x.h5", f"{folder}/back.zarr")
        import_store(f"{folder}/s", f"{folder}/copy.zarr")
        for name in ("x.h5", "back.zarr", "copy.zarr"):
            other = open_store(f"{folder}/{name}")
            assert other.content_digest() == original.content_digest(), name
            assert other.header.fingerprint == original.header.fingerprint
            same_numbers(original, other)
            assert verify_store(f"{folder}/{name}").problems == (), name
        group = zarr.open_group(f"{folder}/back.zarr", mode="r")
        for spec in header.arrays:
            numbers = group[spec.name][:, : max(e.n_slices for e in original.entries)]
            np.testing.assert_array_equal(numbers, original.read(spec.name))
            assert group[spec.name].metadata.dimension_names == spec.dims


@pytest.mark.parametrize("name", ["x.h5", "x.hdf5"])
def test_an_export_is_the_store_without_host_command_and_paths(tmp_path, store, name):
    made = export_store(store.location, str(tmp_path / name))
    assert (made.n_volumes, made.left_behind, made.content_digest) == (3, 1, store.content_digest())
    other = open_store(tmp_path / name)
    assert other.sealed
    assert other.header.created == {"time": "2026-01-02", "batch_size": 8}
    assert {row.path for row in other.table()} == {""}
    text = (tmp_path / name).read_bytes()
    assert not [secret for secret in SECRETS if secret.encode() in text]
    assert tiny_png(1) not in text
    for entry, (ours, theirs) in zip(
        other.entries, zip(store.records(), other.records(), strict=True), strict=True
    ):
        assert theirs == other.record(entry.key)
        assert theirs.sha256 == theirs.self_hash() != ours.sha256
        assert theirs.source.path == ""
        unsigned = {"row": 0, "sha256": "", "source": ours.source}
        assert ours.model_copy(update=unsigned) == theirs.model_copy(update=unsigned)
    assert other.preview(example_key(1)) is None


def test_previews_come_along_when_asked_and_import_keeps_records(tmp_path, store):
    export_store(store.location, str(tmp_path / "x.h5"), previews=True)
    assert open_store(tmp_path / "x.h5").preview(example_key(1)) == tiny_png(1)
    import_store(store.location, str(tmp_path / "copy.zarr"))
    copy = open_store(tmp_path / "copy.zarr")
    assert copy.header == store.header
    assert [r.source for r in copy.records()] == [r.source for r in store.records()]
    assert copy.preview(example_key(3)) == tiny_png(3)


def test_an_import_can_be_written_to(tmp_path, store):
    export_store(store.location, str(tmp_path / "x.h5"))
    import_store(str(tmp_path / "x.h5"), str(tmp_path / "back"))
    header, key = store.header, example_key(9)
    writer = StoreWriter.open(str(tmp_path / "back"), header, [example_row(key, 17)])
    writer.commit(example_draft(key, 17), example_arrays(header, 17))
    assert verify_store(str(tmp_path / "back")).problems == ()
    assert len(open_store(tmp_path / "back").entries) == 4


def test_arrays_are_plain_hdf5_for_other_programs(tmp_path, store):
    export_store(store.location, str(tmp_path / "x.h5"))
    with h5py.File(tmp_path / "x.h5") as file:
        cls = file["cls"][:]
        assert [dim.label for dim in file["cls"].dims] == ["volume", "slice", "dim"]
        assert file["patches"].chunks == (1, 5, 3, 5, 7)
    np.testing.assert_array_equal(cls, store.read("cls"))


def test_a_flipped_or_missing_chunk_of_an_h5_is_found(tmp_path, store):
    path = tmp_path / "x.h5"
    export_store(store.location, str(path))
    with h5py.File(path, "r+") as file:
        file["patches"][1, 6, 0, 0, 0] += 1
        file["checksums/cls"][2, 0] = -1
    other = open_store(path)
    with pytest.raises(StoreError, match=r"p003/T1w, array 'cls': chunk cls/c.2.0.0 is missing"):
        other.read("cls")
    problems = [(p.volume, p.array) for p in verify_store(str(path)).problems]
    assert problems == [("p001/T1w", "patches"), ("p003/T1w", "cls")]
    with pytest.raises(StoreError, match="does not match its checksum"):
        import_store(str(path), str(tmp_path / "back"))
    assert not (tmp_path / "back").exists()


def test_numbers_that_contradict_their_digest_are_not_exported(tmp_path, store):
    cls = Path(store.location) / "cls"
    shutil.copy(cls / "c.0.0.0", cls / "c.3.0.0")  # a whole chunk with a right checksum, of another volume
    with pytest.raises(StoreError, match=r"p003/T1w, array 'cls': its numbers are not those"):
        export_store(store.location, str(tmp_path / "x.h5"))
    assert sorted(os.listdir(tmp_path)) == ["s"]


def test_an_export_takes_the_place_of_an_earlier_one_once_it_is_whole(tmp_path, store):
    """Asked to; one that fails leaves the earlier one as it was, byte for byte, and nothing beside it."""
    out = tmp_path / "x.h5"
    export_store(store.location, str(out))
    before = out.read_bytes()
    more = fill(tmp_path / "more", example_header(("cls",), slice_chunk=5), [3, 4])
    with pytest.raises(StoreError, match="is there already"):
        export_store(more.location, str(out))
    made = export_store(more.location, str(out), replace=True)
    assert made.content_digest == open_store(out).content_digest() == more.content_digest()
    assert verify_store(str(out)).ok
    out.write_bytes(before)
    cls = Path(more.location) / "cls"
    shutil.copy(cls / "c.0.0.0", cls / "c.1.0.0")  # the second volume cannot be exported any more
    with pytest.raises(StoreError, match="its numbers are not those"):
        export_store(more.location, str(out), replace=True)
    assert out.read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == ["more", "s", "x.h5"]


def test_only_an_export_is_replaced(tmp_path, store):
    notes, link, folder = (tmp_path / name for name in ("notes.h5", "link.h5", "folder.h5"))
    notes.write_bytes(b"mine")
    folder.mkdir()
    export_store(store.location, str(tmp_path / "x.h5"))
    link.symlink_to(tmp_path / "x.h5")
    for out, said in ((notes, "no export that can be read"), (link, "is no file"), (folder, "is no file")):
        with pytest.raises(StoreError, match=f"{said}: --replace takes the place of an earlier export only"):
            export_store(store.location, str(out), replace=True)
    with pytest.raises(StoreError, match="is the store itself"):
        export_store(str(tmp_path / "x.h5"), str(tmp_path / "x.h5"), replace=True)
    assert notes.read_bytes() == b"mine"
    assert link.is_symlink()
    export_store(str(tmp_path / "x.h5"), str(tmp_path / "new.h5"), replace=True)  # nothing is there yet
    assert open_store(tmp_path / "new.h5").content_digest() == store.content_digest()


def test_truncated_and_foreign_files_are_refused_in_a_sentence(tmp_path, store):
    export_store(store.location, str(tmp_path / "x.h5"))
    whole = (tmp_path / "x.h5").read_bytes()
    (tmp_path / "cut.h5").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(StoreError, match="no HDF5 file, or a truncated one"):
        open_store(tmp_path / "cut.h5")
    h5py.File(tmp_path / "other.h5", "w").close()
    with pytest.raises(StoreError, match="without a readable slicecache store"):
        open_store(tmp_path / "other.h5")
    with pytest.raises(StoreError, match="written to a folder"):
        StoreWriter.open(str(tmp_path / "x.h5"), store.header, [])
    with pytest.raises(StoreError, match=r"ends in \.h5"):
        export_store(store.location, str(tmp_path / "x.zip"))
    with pytest.raises(StoreError, match="an import makes a folder"):
        import_store(str(tmp_path / "x.h5"), str(tmp_path / "y.h5"))
    with pytest.raises(StoreError, match="is there already"):
        export_store(store.location, str(tmp_path / "x.h5"))
    assert (tmp_path / "x.h5").read_bytes() == whole
    StoreWriter.open(str(tmp_path / "empty"), store.header, [])
    with pytest.raises(StoreError, match="no committed volume"):
        export_store(str(tmp_path / "empty"), str(tmp_path / "e.h5"))


def test_a_zip_of_a_store_is_imported(tmp_path, store):
    made = import_store(zipped(store.location), str(tmp_path / "back.zarr"))
    assert made.content_digest == store.content_digest()
    assert verify_store(made.location).problems == ()


def test_small_objects_beyond_the_buffer_come_back(tmp_path, store, monkeypatch):
    monkeypatch.setattr("cache_schema.files.h5.sink.ASIDE", 1000)
    export_store(store.location, str(tmp_path / "x.h5"), previews=True)
    assert verify_store(str(tmp_path / "x.h5")).problems == ()
    assert open_store(tmp_path / "x.h5").preview(example_key(3)) == tiny_png(3)


KILLED = """
import sys
from cache_schema.move.export import export_store, import_store
print("go", flush=True)
(import_store if sys.argv[2].endswith(".zarr") else export_store)(sys.argv[1], sys.argv[2])
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["x.h5", "x.zarr"])
def test_a_killed_export_leaves_nothing_or_the_whole(tmp_path, name):
    original = fill(tmp_path / "s", example_header(("cls", "patches"), dim=64, grid=(9, 9)), [13] * 40)
    outcomes = []
    for attempt in range(8):
        out = tmp_path / f"{attempt}-{name}"
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(tmp_path / "s"), str(out)],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        )
        process.stdout.readline()
        time.sleep(0.02 + 0.06 * attempt)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        outcomes.append(out.exists())
        if out.exists():
            assert open_store(out).content_digest() == original.content_digest()
            assert verify_store(str(out)).problems == ()
    assert not all(outcomes)
    export_store(str(tmp_path / "s"), str(tmp_path / "last.h5"))


def test_leftovers_of_a_killed_export_are_swept(tmp_path, store):
    stray = tmp_path / f".x.h5.writing{dead_token()}"
    stray.mkdir()
    (stray / "x.h5").write_bytes(b"half")
    export_store(store.location, str(tmp_path / "x.h5"))
    assert not stray.exists()
    assert not list(tmp_path.glob(".x.h5*"))


def test_exports_of_equal_stores_are_equal_in_words(tmp_path, store):
    words = export_store(store.location, str(tmp_path / "x.h5")).in_words()
    assert re.search(r"3 volumes, content digest [0-9a-f]{64}; 1 planned volumes are not committed", words)
    assert (
        json.loads(json.dumps(export_store(store.location, str(tmp_path / "y.h5")).as_json()))["n_volumes"]
        == 3
    )


@pytest.mark.parametrize(
    "module", ["move.export", "files.h5", "move.copying", "move.volume_files", "move.pseudonyms"]
)
def test_exporting_is_imported_without_zarr_and_h5py(module):
    code = f"import sys, cache_schema.{module}; print({{'zarr', 'h5py', 'torch'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_packed_store_is_exported_and_an_export_stands_the_full_check(tmp_path):
    original = fill(tmp_path / "s", example_header(("cls", "patches"), slice_chunk=5), [3, 11, 5, 7])
    pack(str(tmp_path / "s"), str(tmp_path / "packed"))
    export_store(str(tmp_path / "packed"), str(tmp_path / "x.h5"), previews=True)
    import_store(str(tmp_path / "packed"), str(tmp_path / "back"))
    for name in ("x.h5", "back"):
        other = open_store(tmp_path / name)
        assert other.content_digest() == original.content_digest()
        assert other.preview(example_key(2)) == tiny_png(2)
        same_numbers(original, other)
        assert [p.problem for p in verify_store(str(tmp_path / name), full=True).problems] == []


def test_many_threads_read_one_file(tmp_path, store):
    path = str(tmp_path / "x.h5")
    export_store(store.location, path)
    objects = open_objects(path)
    names = objects.list("cls")
    alone = [objects.get(name) for name in names]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(objects.get, names * 20))
    assert found == alone * 20


READ = """
import sys
from cache_schema.store.reader import open_store
from cache_schema.verify.verify import verify_store
store = open_store(sys.argv[1])
assert len(store.read("cls")) == 3 and len(store.records()) == 3
assert verify_store(sys.argv[1]).problems == ()
print({"h5py", "zarr"} & set(sys.modules))
"""


def test_an_export_is_read_and_verified_without_hdf5_in_this_process(tmp_path, store):
    export_store(store.location, str(tmp_path / "x.h5"))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", READ, str(tmp_path / "x.h5")],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        check=False,
    )
    assert (done.stdout.strip(), done.stderr) == ("set()", "")


def test_a_file_that_takes_the_name_of_one_being_opened_is_not_read_in_its_place(
    tmp_path, store, monkeypatch
):
    for name in ("x.h5", "y.h5"):
        export_store(store.location, str(tmp_path / name))

    def ask(*args, **given):
        os.replace(tmp_path / "y.h5", tmp_path / "x.h5")
        return apart.ask(*args, **given)

    monkeypatch.setattr(objects, "ask", ask)
    with pytest.raises(StoreError, match="was replaced while it was opened"):
        open_store(tmp_path / "x.h5")


def beyond(said, body):
    said["parts"]["records"]["offsets"][0] = 2**40


def before(said, body):
    said["checksums"]["cls"]["offsets"][0] = -8


def more_than_there_is(said, body):
    said["parts"]["records"]["size"] *= 2


def chunks_beyond(said, body):
    np.frombuffer(body, dtype=np.int64)[2] = 2**40


def rows_beyond(said, body):
    np.frombuffer(body, dtype=np.int64)[0] = 2**40


def no_numbers(said, body):
    said["arrays"]["cls"]["bytes"] = "many"


def nothing(said, body):
    said.pop("parts")


@pytest.mark.parametrize(
    "change", [beyond, before, more_than_there_is, chunks_beyond, rows_beyond, no_numbers, nothing]
)
def test_what_is_said_of_a_file_is_not_believed(tmp_path, store, monkeypatch, change):
    export_store(store.location, str(tmp_path / "x.h5"))

    def ask(*args, **given):
        said, body = apart.ask(*args, **given)
        change(said, body)
        return said, body

    monkeypatch.setattr(objects, "ask", ask)
    with pytest.raises(StoreError, match=r"outside the file|without a readable slicecache store"):
        open_store(tmp_path / "x.h5")
