"""A store that is packed, unpacked or replaced under a reader: equal content goes on, other is an error."""

import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from made_up_store import example_arrays, example_draft, example_header, example_key, example_row, tiny_png

from cache_schema.common.errors import StoreError
from cache_schema.files.objects import LocalObjects
from cache_schema.move.pack import pack, unpack
from cache_schema.store.reader import open_store
from cache_schema.store.reading import exchanged
from cache_schema.store.seal import seal
from cache_schema.store.writer import StoreWriter
from cache_schema.verify.verify import verify_store

HEADER = example_header(("cls", "patches"), slice_chunk=3)
KEYS = [example_key(n) for n in range(5)]


def fill(location, shift=0.0):
    writer = StoreWriter.open(location, HEADER, [example_row(key, 9) for key in KEYS])
    for n, key in enumerate(KEYS):
        arrays = {name: v + np.float32(shift) for name, v in example_arrays(HEADER, 4 + n, n).items()}
        writer.commit(example_draft(key, 4 + n), arrays, preview=tiny_png(n))
    return location


@pytest.fixture(params=["packed", "unpacked"])
def swap(request, tmp_path):
    """A store, and what puts its other form in its place."""
    location = fill(str(tmp_path / "store.zarr"))
    if request.param == "packed":
        return location, lambda: pack(location, shard_volumes=2)
    pack(location, shard_volumes=2)
    return location, lambda: unpack(location)


class Once:
    """Does something before the n-th call of a method of local objects."""

    def __init__(self, monkeypatch, method, n, act):
        self.calls, self.done = 0, False
        real = getattr(LocalObjects, method)

        def counted(objects, *given, **named):
            self.calls += 1
            if self.calls == n and not self.done:
                self.done = True
                act()
            return real(objects, *given, **named)

        monkeypatch.setattr(LocalObjects, method, counted)


READS = {
    "read": lambda store: store.read("cls"),
    "read_volume": lambda store: store.read_volume("patches", KEYS[2]),
    "read_slices": lambda store: store.read_slices("patches", store.entries[3], [5, 0, 6]),
    "record": lambda store: np.array(store.record(KEYS[1]).slices.height_mm),
    "records": lambda store: np.array([record.row for record in store.records()]),
    "preview": lambda store: np.frombuffer(store.preview(KEYS[4]) or b"", np.uint8),
    "table": lambda store: np.array([row.max_slices for row in store.table()]),
}


@pytest.mark.parametrize("what", READS)
def test_exchanged_between_open_and_read(swap, what):
    location, exchange = swap
    expected = READS[what](open_store(location))
    store = open_store(location)
    if what == "read_volume":
        store.read("patches")  # what was looked up before must not stay
    exchange()
    np.testing.assert_array_equal(READS[what](store), expected)
    assert store.sealed
    assert store.is_current()


@pytest.mark.parametrize("n", [1, 2, 3])
def test_exchanged_inside_a_read_of_many_volumes(swap, monkeypatch, n):
    location, exchange = swap
    expected = open_store(location).read("patches")
    store = open_store(location)
    once = Once(monkeypatch, "opened", n, exchange)
    np.testing.assert_array_equal(store.read("patches"), expected)
    assert once.done


@pytest.mark.parametrize("n", [1, 3])
def test_exchanged_while_it_is_opened(swap, monkeypatch, n):
    location, exchange = swap
    expected = open_store(location).content_digest()
    once = Once(monkeypatch, "get", n, exchange)
    store = open_store(location)
    assert once.done
    assert store.content_digest() == expected
    assert len(store.entries) == len(KEYS)
    assert store.is_current()


def test_exchanged_there_and_back(tmp_path):
    location = fill(str(tmp_path / "store.zarr"))
    store = open_store(location)
    expected = store.read("cls")
    for exchange in (pack, unpack, pack):
        exchange(location)
        np.testing.assert_array_equal(store.read("cls"), expected)


def test_threads_that_share_a_reader_all_go_on(tmp_path):
    location = fill(str(tmp_path / "store.zarr"))
    store = open_store(location)
    expected = [store.read_volume("patches", key) for key in KEYS]
    packed = threading.Event()

    def read():
        same, more = True, 3
        while more := more - packed.is_set():
            found = [store.read_volume("patches", key) for key in KEYS]
            same &= all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))
        return same

    with ThreadPoolExecutor(4) as pool:
        reading = [pool.submit(read) for _ in range(4)]
        try:
            for exchange in (pack, unpack):
                exchange(location)
        finally:
            packed.set()
        assert all(future.result(60) for future in reading)


def test_exchanged_again_and_again_ends(tmp_path, monkeypatch):
    location = fill(str(tmp_path / "store.zarr"))
    store = open_store(location)
    monkeypatch.setattr(exchanged, "stamp_of", lambda objects, calls=[]: calls.append(0) or (len(calls), 0))
    monkeypatch.setattr(type(store), "_reopen", lambda self: setattr(self, "_stamp", (0, 0)))
    with pytest.raises(StoreError, match="is replaced again and again while it is read"):
        store.read("cls")


@pytest.mark.parametrize("sealed", [True, False])
@pytest.mark.parametrize("form", ["plain", "packed"])
@pytest.mark.parametrize("what", READS)
def test_other_content_is_an_error(tmp_path, what, sealed, form):
    """Of equal shape, so that nothing but the digest tells."""
    location, other = fill(str(tmp_path / "store.zarr")), fill(str(tmp_path / "other.zarr"), shift=0.5)
    if sealed:
        seal(location)
    if form == "packed":
        pack(other)
    store = open_store(location)
    digests = store.content_digest(), open_store(other).content_digest()
    shutil.rmtree(location)
    shutil.move(other, location)
    with pytest.raises(StoreError, match="replaced while it was read, by a store of other content") as caught:
        READS[what](store)
    assert all(digest in str(caught.value) for digest in digests)


def test_gone_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(exchanged, "PAUSES", (0.0,))
    location = fill(str(tmp_path / "store.zarr"))
    store = open_store(location)
    shutil.rmtree(location)
    with pytest.raises(StoreError, match="there is no store at"):
        store.read("cls")


def test_damage_of_a_store_that_was_not_exchanged_stays_damage(tmp_path):
    location = fill(str(tmp_path / "store.zarr"))
    store = open_store(location)
    (tmp_path / "store.zarr" / "cls" / "c.1.0.0").unlink()
    with pytest.raises(StoreError, match=r"volume p001/T1w, array 'cls': chunk cls/c.1.0.0 is missing"):
        store.read("cls")


def test_a_reader_sees_what_was_committed_when_it_opened(tmp_path):
    """A store that grew before it was packed is other content; one that only grew is not exchanged."""
    location = str(tmp_path / "store.zarr")
    writer = StoreWriter.open(location, HEADER, [example_row(key, 9) for key in KEYS[:2]])
    writer.commit(example_draft(KEYS[0], 4), example_arrays(HEADER, 4, 0))
    store = open_store(location)
    writer.commit(example_draft(KEYS[1], 5), example_arrays(HEADER, 5, 1))
    assert len(store.read("cls")) == 1
    pack(location)
    with pytest.raises(StoreError, match="other content"):
        store.read("cls")


def test_where_folders_cannot_be_exchanged_in_one_step(swap, monkeypatch):
    """There is no store for a moment: the reader waits for it."""
    location, exchange = swap
    expected = open_store(location).read("cls")
    store, gap, go_on = open_store(location), threading.Event(), threading.Event()
    monkeypatch.setattr("cache_schema.files.disk.exchange.exchange", lambda a, b: False)
    real = os.rename

    def rename(a, b):
        if str(b) == location:
            gap.set()
            go_on.wait(10)
        real(a, b)

    monkeypatch.setattr(os, "rename", rename)
    monkeypatch.setattr(exchanged.time, "sleep", lambda seconds: (go_on.set(), packer.join(10)))
    packer = threading.Thread(target=exchange)
    packer.start()
    assert gap.wait(60)
    np.testing.assert_array_equal(store.read("cls"), expected)
    packer.join()
    assert verify_store(location).ok
