"""A store on a web server: what is read, in how many requests, and what a passing failure costs."""

import json
import sys
import threading
from contextlib import nullcontext

import numpy as np
import pytest
from attacks.scene import run
from made_up_store import example_arrays, example_draft, example_header, example_key, example_row
from serving import Fault
from torch.utils.data import DataLoader

import slicecache as sc
from cache_schema.common.errors import ConfigError, MachineError, StoreError
from cache_schema.format.record import Failure
from cache_schema.move.export import import_store
from cache_schema.move.pack import pack
from cache_schema.store.reader import open_store
from cache_schema.store.seal import seal
from cache_schema.store.writer import StoreWriter
from cache_schema.verify.verify import verify_store

LENGTHS = [3 + i % 6 for i in range(40)]


def busy(status):
    return lambda handler: handler.answer(status, b"slow down")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """`plain` and `packed`, both sealed; the last volume of the table failed."""
    folder = tmp_path_factory.mktemp("remote")
    header = example_header(("cls",), slice_chunk=8)
    rows = [example_row(example_key(i), n) for i, n in enumerate([*LENGTHS, 4])]
    writer = StoreWriter.open(str(folder / "plain"), header, rows)
    for i, n in enumerate(LENGTHS):
        writer.commit(example_draft(example_key(i), n), example_arrays(header, n, i))
    failed = dict(
        zip(("participant_id", "session_id", "volume_id"), example_key(len(LENGTHS)).as_list(), strict=True)
    )
    writer.fail(Failure(**failed, path="p.nii.gz", reason="every voxel is 7"))
    seal(str(folder / "plain"))
    pack(str(folder / "plain"), str(folder / "packed"), shard_volumes=16)
    return folder


def chunks(site):
    return [name for name in site.asked if "/c." in name]


def test_a_chunk_is_one_request(folder, serve):
    site = serve(folder)
    there, here = open_store(f"{site.url}/plain"), open_store(folder / "plain")
    assert there.sealed
    assert there.content_digest() == here.content_digest()
    np.testing.assert_array_equal(there.read("cls"), here.read("cls"))
    assert sorted(chunks(site)) == sorted(f"plain/cls/c.{row}.0.0" for row in range(len(LENGTHS)))
    assert tuple(there.records()) == tuple(here.records())
    assert there.table() == here.table()
    assert [failure.reason for failure in there.failures()] == ["every voxel is 7"]


def test_a_shard_is_its_index_and_one_request(folder, serve):
    site = serve(folder)
    there, here = open_store(f"{site.url}/packed"), open_store(folder / "packed")
    np.testing.assert_array_equal(there.read("cls"), here.read("cls"))
    # Each index came with the shard's size; of these small shards everything did.
    assert len(chunks(site)) == len(set(chunks(site))) == 3
    np.testing.assert_array_equal(there.read("cls"), here.read("cls"))
    assert len(chunks(site)) == 3


def test_gaps_and_runs_of_a_shard_are_one_request(folder, serve, monkeypatch):
    monkeypatch.setattr("cache_schema.files.remote.objects.TAIL_BYTES", 16 * 16 + 4)
    site = serve(folder)
    there, here = open_store(f"{site.url}/packed"), open_store(folder / "packed")
    some = here.entries[:16:3]
    np.testing.assert_array_equal(there.read("cls", some), here.read("cls", some))
    assert len(chunks(site)) == 2
    monkeypatch.setattr("cache_schema.files.chunks.pieces.URL_GAP_BYTES", 0)
    np.testing.assert_array_equal(there.read("cls", some), here.read("cls", some))
    assert len(chunks(site)) == 2 + len(some)
    monkeypatch.setattr("cache_schema.files.chunks.pieces.URL_RUN_BYTES", 1)
    np.testing.assert_array_equal(there.read("cls"), here.read("cls"))
    assert len(chunks(site)) == 2 + len(some) + 2 + len(LENGTHS)


def test_a_record_is_asked_for_once_for_all(folder, serve):
    site = serve(folder)
    for name in ("plain", "packed"):
        store = open_store(f"{site.url}/{name}")
        site.asked.clear()
        assert [store.record(e.key) for e in store.entries] == list(open_store(folder / name).records())
        assert site.asked == [f"{name}/sealed/records.jsonl"]


@pytest.mark.parametrize("status", [429, 503])
def test_two_slow_downs_are_waited_out(folder, serve, status):
    site = serve(folder, faults=[Fault(busy(status), "header", 2), Fault(busy(status), "c.7.", 2)])
    store = open_store(f"{site.url}/plain")
    np.testing.assert_array_equal(store.read("cls"), open_store(folder / "plain").read("cls"))
    assert site.asked.count("plain/header.json") == 3
    assert site.asked.count("plain/cls/c.7.0.0") == 3


def test_a_server_that_stops_in_the_middle_and_comes_back(folder, serve, monkeypatch):
    monkeypatch.setenv("SLICECACHE_REMOTE_RETRIES", "0")
    site = serve(folder)
    store = open_store(f"{site.url}/plain")
    site.faults.append(Fault(lambda handler: site.stop(handler), "c.20."))
    with pytest.raises(MachineError, match=r"cannot read 'http://127.0.0.1:\d+/plain/cls/c\.\d+\.0\.0': "):
        store.read("cls")
    with pytest.raises(MachineError, match="nobody listens there"):
        open_store(f"{site.url}/plain")
    site.faults.clear()
    serve(folder, port=site.port)
    np.testing.assert_array_equal(store.read("cls"), open_store(folder / "plain").read("cls"))


def test_requests_wait_together(folder, serve):
    """All at once or not at all: none of 16 is answered before the 16th has been asked for."""
    site = serve(folder)
    store = open_store(f"{site.url}/plain")
    together = threading.Barrier(16, timeout=20)
    site.faults.append(Fault(lambda handler: (together.wait(), handler.gives())[1], "/c.", 32))
    np.testing.assert_array_equal(store.read("cls"), open_store(folder / "plain").read("cls"))


def test_verify_by_url_finds_what_it_can(folder, serve, tmp_path):
    site = serve(folder)
    for name in ("plain", "packed"):
        found = verify_store(f"{site.url}/{name}", full=True)
        assert found.problems == ()
        assert found.n_volumes == len(LENGTHS)
        assert any("lists nothing" in note for note in found.notes)
    record = next(folder.joinpath("plain/records").rglob("*.json"))
    gone = Fault(lambda handler: handler.answer(404, b""), record.name)
    site.faults.append(gone)
    assert "its record is missing" in verify_store(f"{site.url}/plain").problems[0].problem


def test_a_forked_process_is_told_instead_of_waiting_for_ever(folder, serve):
    site = serve(folder)
    store = sc.open(f"{site.url}/plain")
    for context, refused in (("spawn", None), ("fork", "forked")):
        loader = DataLoader(
            store.to_torch("cls"),
            batch_size=40,
            collate_fn=sc.collate_bags,
            num_workers=1,
            multiprocessing_context=context,
            timeout=60,
        )
        with pytest.raises(ConfigError, match="start workers by spawn") if refused else nullcontext():
            assert [bag.x.shape[0] for bag in loader] == [40]


def test_without_obstore_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "obstore", None)
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    answer = run("cache inspect", ["http://127.0.0.1:9/cache.zarr"])
    assert (answer.code, "pip install 'slicecache[remote]'" in answer.err) == (2, True)


def test_import_downloads_a_store(folder, serve, tmp_path):
    site = serve(folder)
    import_store(f"{site.url}/packed", str(tmp_path / "copy"))
    assert verify_store(str(tmp_path / "copy"), full=True).ok
    assert open_store(tmp_path / "copy").content_digest() == open_store(folder / "plain").content_digest()


def test_a_seal_of_another_table_is_an_error(folder, serve):
    """A row that the table does not have, by a seal whose own hash is right, is not made up for."""
    site = serve(folder)
    table = json.loads((folder / "plain/table/000000.json").read_bytes())
    data = json.dumps({**table, "rows": table["rows"][:-2]}).encode()
    site.faults.append(Fault(lambda handler: handler.answer(200, data), "table/000000"))
    with pytest.raises(StoreError, match="does not match its own hash"):
        open_store(f"{site.url}/plain").table()
