"""A packed store says the same as the store it was made from, and is read only."""

import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_up_store import example_arrays, example_draft, example_header, example_key, example_row, tiny_png

from cache_schema.common.errors import StoreError
from cache_schema.files.disk import exchange as swap
from cache_schema.format.record import Failure
from cache_schema.move import pack as pack_module
from cache_schema.move.pack import pack, unpack
from cache_schema.store.reader import open_store
from cache_schema.store.writer import StoreWriter
from cache_schema.verify.verify import verify_store

ALL = ("cls", "patch_mean", "patches", "cls_attention")


def write_store(location, lengths, tokens=ALL, slice_chunk=5, storage="float16"):
    """Volumes of these lengths; 0: it failed. The first has a preview."""
    header = example_header(tokens, slice_chunk=slice_chunk, storage=storage)
    rows = [example_row(example_key(i), max(n, 1)) for i, n in enumerate(lengths)]
    writer = StoreWriter.open(location, header, rows)
    for i, n in enumerate(lengths):
        if n:
            preview = tiny_png(i) if i % 2 == 0 else None
            writer.commit(example_draft(example_key(i), n), example_arrays(header, n, i), preview)
        else:
            key = example_key(i)
            writer.fail(
                Failure(
                    participant_id=key.participant_id, session_id="", volume_id="T1w", path="x", reason="why"
                )
            )
    return header


@pytest.fixture
def location(tmp_path):
    write_store(str(tmp_path / "store.zarr"), [7, 3, 0, 11, 5, 1, 6])
    return str(tmp_path / "store.zarr")


def files(location):
    return sorted(
        os.path.relpath(os.path.join(folder, name), location)
        for folder, _, names in os.walk(location)
        for name in names
    )


def says(location):
    """Everything that a reader says of a store."""
    store = open_store(location)
    arrays = {spec.name: store.read(spec.name).tobytes() for spec in store.header.arrays}
    previews = [store.preview(entry.key) for entry in store.entries]
    return (
        store.entries,
        list(store.records()),
        store.failures(),
        store.table(),
        arrays,
        previews,
        store.header,
    )


def test_packed_says_the_same_in_fewer_files_and_back(location):
    before, names = says(location), files(location)
    pack(location, shard_volumes=3)
    assert says(location) == before
    packed = files(location)
    assert len(packed) < len(names) / 2
    assert [name for name in packed if name.startswith("cls/")] == [f"cls/c.{i}.0.0" for i in (0, 1, 2)] + [
        "cls/zarr.json"
    ]
    assert not [name for name in packed if name.startswith(("records", "previews", "tmp"))]
    verification = verify_store(location, full=True)
    assert (verification.problems, verification.n_volumes) == ((), 6)
    unpack(location)
    assert says(location) == before
    assert [n for n in files(location) if not n.startswith("sealed")] == names
    assert verify_store(location, full=True).ok
    assert os.listdir(os.path.dirname(location)) == ["store.zarr"]


def test_zarr_reads_a_packed_store_by_itself(location):
    import zarr

    before = {name: zarr.open_array(f"{location}/{name}", mode="r")[:] for name in ALL}
    pack(location, shard_volumes=4)
    for name in ALL:
        array = zarr.open_array(f"{location}/{name}", mode="r")
        assert array.shards is not None
        np.testing.assert_array_equal(array[:], before[name])


def test_a_zip_of_a_packed_store_reads_the_same(location, tmp_path):
    before = says(location)
    pack(location, shard_volumes=3)
    archive = shutil.make_archive(str(tmp_path / "copy"), "zip", location)
    assert says(archive) == before
    assert verify_store(archive, full=True).ok
    unpack(archive, str(tmp_path / "again.zarr"))
    assert says(str(tmp_path / "again.zarr")) == before


def test_a_packed_store_is_exported_and_imported_with_its_digest(location, tmp_path):
    from cache_schema.move.export import export_store, import_store

    digest = pack(location, shard_volumes=3).content_digest()
    export_store(location, str(tmp_path / "x.h5"))
    import_store(str(tmp_path / "x.h5"), str(tmp_path / "again.zarr"))
    for place in ("x.h5", "again.zarr"):
        assert open_store(str(tmp_path / place)).content_digest() == digest
        assert verify_store(str(tmp_path / place), full=True).problems == ()


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lengths=st.lists(st.integers(0, 13), min_size=1, max_size=9),
    tokens=st.lists(st.sampled_from(ALL), min_size=1, max_size=4, unique=True),
    slice_chunk=st.integers(1, 17),
    storage=st.sampled_from(["float16", "float32"]),
    shard_volumes=st.integers(2, 5),
)
def test_round_trips(tmp_path_factory, lengths, tokens, slice_chunk, storage, shard_volumes):
    folder = tmp_path_factory.mktemp("trip")
    plain, packed, again = (str(folder / name) for name in ("plain", "packed", "again"))
    write_store(plain, lengths, tuple(tokens), slice_chunk, storage)
    before = says(plain)
    pack(plain, packed, shard_volumes)
    unpack(packed, again)
    assert says(plain) == says(packed) == says(again) == before
    assert open_store(packed).content_digest() == open_store(plain).content_digest()


def test_a_subset_in_any_order(location):
    store = open_store(location)
    chosen = [store.entries[i] for i in (4, 0, 3)]
    before = store.read("patches", chosen)
    pack(location, shard_volumes=2)
    np.testing.assert_array_equal(open_store(location).read("patches", chosen), before)


def test_a_packed_store_is_not_written_to_but_an_extraction_finds_all_done(location):
    header = pack(location).header
    keys = [example_key(i) for i in range(7)]
    writer = StoreWriter.open(location, header, [example_row(key, 11) for key in keys])
    assert [writer.record(key) is not None for key in keys] == [True, True, False, True, True, True, True]
    assert writer.failure(keys[2]) is not None
    state = files(location)
    draft, arrays = example_draft(keys[2], 3), example_arrays(header, 3)
    for act in (
        lambda: writer.commit(draft, arrays),
        lambda: writer.remove_record(keys[0]),
        lambda: writer.fail(writer.failure(keys[2])),
        lambda: StoreWriter.open(location, header, [example_row(example_key(9), 3)]),
    ):
        with pytest.raises(StoreError, match="cache unpack"):
            act()
    assert files(location) == state
    assert open_store(location).sealed
    unpack(location)
    StoreWriter.open(location, header, []).commit(draft, arrays)
    assert len(open_store(location).entries) == 7
    assert verify_store(location, full=True).ok


def flip(path, offset):
    with open(path, "r+b") as file:
        file.seek(offset, 0 if offset >= 0 else 2)
        byte = file.read(1)[0]
        file.seek(-1, 1)
        file.write(bytes([byte ^ 4]))


def named(location):
    return {(p.volume, p.array) for p in verify_store(location, full=True).problems}


def test_damage_in_shards_is_named_by_volume_and_array(location, tmp_path):
    pack(location, shard_volumes=3)
    shutil.copytree(location, tmp_path / "sound")

    def fresh():
        shutil.rmtree(location)
        shutil.copytree(tmp_path / "sound", location)
        return f"{location}/cls/c.0.0.0"

    chunk = 5 * 7 * 2 + 4
    flip(fresh(), 2 * chunk + 3)  # volume 0 has two chunks, so the third is that of volume 1
    assert named(location) == {("p001/T1w", "cls")}
    with pytest.raises(StoreError, match="volume p001/T1w, array 'cls'"):
        open_store(location).read("cls")
    everybody = {("p000/T1w", "cls"), ("p001/T1w", "cls")}
    flip(fresh(), -30)
    assert named(location) == everybody
    for size in (0, 11, os.path.getsize(fresh()) - 1):
        os.truncate(fresh(), size)
        assert named(location) == everybody
    os.unlink(fresh())
    assert named(location) == everybody
    fresh()
    flip(f"{location}/packed/records.jsonl", 2000)
    assert {array for _, array in named(location)} >= {"record"}
    assert [v for v, array in named(location) if array == "record" and v]
    fresh()
    with open(f"{location}/packed/records.jsonl", "r+b") as file:
        lines = file.read().splitlines(keepends=True)
        file.seek(0)
        file.truncate()
        file.write(b"".join(lines[:-1]))
    assert ("", "record") in named(location)
    assert len(named(location)) > 6  # the volume without its line has data in every array


def test_what_cannot_be_packed_is_refused_and_nothing_changes(location, tmp_path):
    before = files(location)
    with pytest.raises(StoreError, match="is not packed"):
        unpack(location)
    with pytest.raises(StoreError, match="exists"):
        pack(location, str(tmp_path))
    with pytest.raises(StoreError, match="there is no store"):
        pack(str(tmp_path / "x"))
    flip(f"{location}/cls/c.3.1.0", 9)
    with pytest.raises(StoreError, match="volume p003/T1w, array 'cls'"):
        pack(location)
    assert files(location) == before
    flip(f"{location}/cls/c.3.1.0", 9)
    StoreWriter.open(location, example_header(ALL, slice_chunk=5), [example_row(example_key(8), 3)])
    with pytest.raises(StoreError, match="not complete"):
        pack(location)
    assert os.listdir(tmp_path) == ["store.zarr"]


@pytest.mark.parametrize("part", ["cls", "records"])
def test_a_packed_form_that_is_wrong_never_takes_the_place(location, tmp_path, monkeypatch, part):
    before, names = says(location), files(location)
    real = {"cls": pack_module.write_shard, "records": pack_module.put_lines}[part]

    def wrong_shard(file, layout, chunks):
        real(file, layout, ((place, 0, data) for place, _, data in chunks))

    def wrong_lines(objects, records):
        real(objects, dict(list(records.items())[1:]))

    name, wrong = {"cls": ("write_shard", wrong_shard), "records": ("put_lines", wrong_lines)}[part]
    monkeypatch.setattr(pack_module, name, wrong)
    with pytest.raises(StoreError, match=r"not right|not complete"):
        pack(location)
    assert (says(location), files(location)) == (before, names)
    assert os.listdir(tmp_path) == ["store.zarr"]


def test_large_volumes_go_to_smaller_shards(location, monkeypatch):
    store = open_store(location)
    monkeypatch.setattr(pack_module, "LARGE_VOLUME_BYTES", 11 * 3 * 5 * 7 * 2 - 1)
    packed = pack(location)
    assert {spec.name: packed.layout(spec.name).shard_volumes for spec in store.header.arrays} == {
        "patches": 32,
        **dict.fromkeys(("cls", "patch_mean", "cls_attention", "foreground", "patch_intensity"), 64),
    }


def test_a_volume_committed_while_packing_is_not_lost(location, monkeypatch):
    key, flush = example_key(2), pack_module.sync_tree

    def commit_late(folder):
        flush(folder)
        header = example_header(ALL, slice_chunk=5)
        StoreWriter.open(location, header, []).commit(example_draft(key, 3), example_arrays(header, 3))

    monkeypatch.setattr(pack_module, "sync_tree", commit_late)
    with pytest.raises(StoreError, match="being written to"):
        pack(location)
    assert key in [entry.key for entry in open_store(location).entries]
    assert verify_store(location, full=True).ok


def test_without_an_atomic_exchange(location, monkeypatch):
    before = says(location)
    monkeypatch.setattr(swap, "exchange", lambda a, b: False)
    pack(location)
    assert says(location) == before
    hidden = swap.sibling(swap.Path(location), "replaced")
    os.rename(location, hidden)  # as a kill between the two renames leaves it
    with pytest.raises(StoreError, match=r"interrupted.*\.store\.zarr\.replaced"):
        open_store(location)
    unpack(location)
    assert says(location) == before


KILLED = """
import sys, time
from cache_schema.move.pack import pack, unpack
location, start = sys.argv[1], float(sys.argv[2])
import zarr, cache_schema.verify.verify
time.sleep(max(0.0, start - time.time()))
while True:
    pack(location, shard_volumes=4)
    unpack(location)
"""


@pytest.mark.slow
def test_killed_twenty_times(tmp_path):
    location = str(tmp_path / "store.zarr")
    write_store(location, [5 + i % 7 for i in range(40)])
    before = says(location)
    packed = 0
    for number in range(20):
        start = time.time() + 1.0
        worker = subprocess.Popen([sys.executable, "-c", KILLED, location, str(start)])
        time.sleep(1.0 + 0.13 * number % 1.1)
        assert worker.poll() is None
        worker.send_signal(signal.SIGKILL)
        worker.wait(10)
        assert says(location) == before
        assert verify_store(location, full=True).problems == ()
        if os.path.exists(f"{location}/packed.json"):
            packed += 1
            unpack(location)
    assert 0 < packed < 20  # else the kills came at one kind of moment
