"""The stream gives every slice once, in an order of its own, in memory that the cohort does not set."""

import tracemalloc

import numpy as np
import pytest
import torch
from made_up_store import example_key, zipped

from aggregate.anomaly.detectors.base import SliceBatch, volume_number
from aggregate.anomaly.fitting import stream as stream_module
from aggregate.anomaly.fitting.rebatch import Rebatch, join
from aggregate.anomaly.fitting.stream import ARRAYS, open_stream
from cache_schema.common.errors import ConfigError, StoreError
from cache_schema.move.export import export_store
from cache_schema.store.reader import open_store

LENGTHS = (7, 3, 13, 1, 5, 11)
SMALL = 4 * 16 * (3 * 5 * 11 + 2 * 15 + 11)
"""A budget of 16 slices."""


def everything(pieces):
    return join(list(pieces))


def same(a: SliceBatch, b: SliceBatch) -> bool:
    names = ("patches", "foreground", "intensity", "cls", "height_mm", "volume")
    return all(torch.equal(getattr(a, name), getattr(b, name)) for name in names)


def test_in_order_gives_volumes_as_they_are_stored(normal_store):
    store = normal_store(LENGTHS, order=[4, 0, 5, 2, 1, 3])
    stream = open_stream(store)
    found = {}
    for entry, batch in stream.in_order(4):
        assert len(batch) <= 4
        assert set(batch.volume.tolist()) == {volume_number(entry.key)}
        found.setdefault(entry.key, []).append(batch)
    assert list(found) == [example_key(i) for i in range(6)]
    for i, n in enumerate(LENGTHS):
        key = example_key(i)
        whole = everything(found[key])
        for name, values in zip(
            ARRAYS, (whole.patches, whole.foreground, whole.intensity, whole.cls), strict=True
        ):
            np.testing.assert_array_equal(values.numpy(), store.read_volume(name, key).astype(np.float32))
        assert whole.height_mm.tolist() == [2.0 * (n - 1 - s) for s in range(n)]
    reference = stream.reference
    assert (reference.dim, reference.grid, reference.n_slices, reference.n_volumes) == (11, (3, 5), 40, 6)


@pytest.mark.parametrize("budget", [1, SMALL, 2**28])
def test_an_epoch_gives_every_slice_once(normal_store, budget):
    stream = open_stream(normal_store(LENGTHS), budget=budget)
    ordered = everything(batch for _, batch in stream.in_order(9))
    for epoch in range(2):
        shuffled = everything(stream.shuffled(epoch))
        places = [ordered.cls.tolist().index(cls) for cls in shuffled.cls.tolist()]
        assert sorted(places) == list(range(40))
        assert same(shuffled, ordered.take(torch.tensor(places)))


def test_order_follows_from_seed_and_epoch(normal_store):
    store = normal_store(LENGTHS)
    stream = open_stream(store, seed=3)
    first = everything(stream.shuffled(0))
    assert same(first, everything(open_stream(store, seed=3).shuffled(0)))
    assert not same(first, everything(stream.shuffled(1)))
    assert not same(first, everything(open_stream(store, seed=4).shuffled(0)))


def test_volumes_are_mixed(normal_store):
    stream = open_stream(normal_store([20] * 20), budget=4 * SMALL)
    for piece in list(stream.shuffled(0))[:-2]:
        assert len(set(piece.volume.tolist())) >= 4


def test_order_does_not_follow_from_the_layout(normal_store, tmp_path):
    store = normal_store(LENGTHS)
    other = normal_store(LENGTHS, name="other.zarr", order=[3, 5, 0, 1, 4, 2], slice_chunk=3)
    export_store(store.location, str(tmp_path / "s.h5"))
    streams = [open_stream(one, budget=SMALL) for one in (store, other)]
    exports = (zipped(store.location), tmp_path / "s.h5")
    streams += [open_stream(open_store(path), budget=SMALL) for path in exports]
    streams.append(open_stream(store, store.entries[::-1], budget=SMALL))
    first = everything(streams[0].shuffled(0))
    for stream in streams[1:]:
        assert same(first, everything(stream.shuffled(0)))
        assert stream.digest == streams[0].digest


def test_some_slices_of_some_volumes(normal_store):
    store = normal_store(LENGTHS)
    chosen = {example_key(2): [12, 0, 5, 5], example_key(3): []}
    entries = [store.entries[i] for i in (4, 2, 3)]
    stream = open_stream(store, entries, chosen)
    assert stream.reference.n_slices == 8
    assert stream.reference.n_volumes == 2
    batch = everything(batch for _, batch in stream.in_order(3))
    wanted = np.concatenate(
        [store.read_volume("cls", example_key(2))[[0, 5, 12]], store.read_volume("cls", example_key(4))]
    )
    np.testing.assert_array_equal(batch.cls.numpy(), wanted.astype(np.float32))
    assert stream.digest != open_stream(store, entries).digest


def test_what_cannot_be_streamed_is_refused(normal_store, make_store, scan):
    with pytest.raises(ConfigError, match=r"tokens: \[cls, patches\]"):
        open_stream(make_store([scan("a")]))
    store = normal_store([3, 2])
    with pytest.raises(ConfigError, match="no slice"):
        open_stream(store, [])
    with pytest.raises(StoreError, match="p000/T1w has 3 kept slices, counted from 0"):
        open_stream(store, slices={example_key(0): [3]})


def test_memory_does_not_grow_with_the_cohort(normal_store, monkeypatch):
    monkeypatch.setattr(stream_module, "READ_THREADS", 1)  # how threads overlap is no two times the same
    peaks = []
    for n in (15, 120):
        stream = open_stream(normal_store([12] * n, name=f"{n}.zarr", dim=64, grid=(8, 9)), budget=2**20)
        for _ in stream.shuffled(0):  # what is made once: threads, layouts
            break
        tracemalloc.start()
        for piece in stream.shuffled(0):
            assert len(piece)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # A volume's tokens are 110 kB; what grows is where its stretches begin.
    assert peaks[1] - peaks[0] < (120 - 15) * 4000
    assert peaks[1] < 2**20


@pytest.mark.parametrize("size", [1, 3, 8, 64])
def test_batches_do_not_depend_on_pieces(normal_store, size):
    stream = open_stream(normal_store(LENGTHS))
    whole = everything(batch for _, batch in stream.in_order(5))
    for cut in (1, 4, 40):
        rebatch, batches = Rebatch(size), []
        for start in range(0, 40, cut):
            batches += rebatch.push(whole.take(slice(start, start + cut)))
        batches += rebatch.rest()
        assert [len(batch) for batch in batches] == [size] * (40 // size) + [40 % size] * (40 % size > 0)
        assert same(everything(batches), whole)
