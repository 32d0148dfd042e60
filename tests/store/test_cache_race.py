"""Several processes create, extend and write one store at once, and some are killed."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
from made_up_store import example_arrays, example_draft, example_header, example_key, example_row

from cache_schema.store.reader import open_store
from cache_schema.store.writer import StoreWriter
from cache_schema.verify.verify import verify_store

WORKER = """
import sys, time
from made_up_store import *
from cache_schema.store.writer import StoreWriter
location, first, last = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
start, pause = map(float, sys.argv[4:])
header = example_header(slice_chunk=5)
time.sleep(max(0.0, start - time.time()))
for number in range(first, last):
    # Every volume is one more append, and each is longer than the one before.
    rows = [example_row(example_key(i), 3 + i) for i in range(first, number + 1)]
    writer = StoreWriter.open(location, header, rows)
    for i in range(first, number + 1):
        if writer.record(example_key(i)) is None:
            writer.commit(example_draft(example_key(i), 3 + i), example_arrays(header, 3 + i, i))
            time.sleep(pause)
"""


def start_workers(location, spans, pause=0.0):
    start = time.time() + 1.5  # all are done importing by then, so that they do race
    arguments = [(location, str(a), str(b), str(start), str(pause)) for a, b in spans]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return [
        subprocess.Popen([sys.executable, "-c", WORKER, *worker], env=environment) for worker in arguments
    ]


def wait_for_records(location, more):
    """Until the store has so many records more than now; by the store and not by the clock."""
    before, end = len(committed(location)), time.time() + 60
    while len(committed(location)) < before + more or not os.path.exists(location):
        assert time.time() < end
        time.sleep(0.002)


def committed(location):
    return [name for _, _, names in os.walk(os.path.join(location, "records")) for name in names]


def undisturbed(tmp_path, n):
    header = example_header(slice_chunk=5)
    location = str(tmp_path / "undisturbed")
    writer = StoreWriter.open(location, header, [example_row(example_key(i), 3 + i) for i in range(n)])
    for i in range(n):
        writer.commit(example_draft(example_key(i), 3 + i), example_arrays(header, 3 + i, i))
    return open_store(location)


def assert_equals_undisturbed(location, tmp_path, n):
    store, expected = open_store(location), undisturbed(tmp_path, n)
    assert store.content_digest() == expected.content_digest()
    assert sorted(entry.row for entry in store.entries) == list(range(n))
    np.testing.assert_array_equal(store.read("cls"), expected.read("cls"))
    verification = verify_store(location)
    assert verification.problems == ()
    assert verification.notes == ()


def test_processes_race_to_create_append_and_write(tmp_path):
    location = str(tmp_path / "store")
    # The middle one shares volumes with both others.
    workers = start_workers(location, [(0, 8), (5, 13), (10, 18)])
    assert [worker.wait(60) for worker in workers] == [0, 0, 0]
    assert_equals_undisturbed(location, tmp_path, 18)
    assert [name for name in os.listdir(tmp_path) if "creating" in name] == []


def test_killed_at_any_moment_and_run_again(tmp_path):
    location = str(tmp_path / "store")
    unfinished = 0
    for more in (0, 2, 4):
        workers = start_workers(location, [(0, 9), (6, 15)], pause=0.05)
        wait_for_records(location, more)
        for worker in workers:
            worker.send_signal(signal.SIGKILL)
            worker.wait(10)
        if os.path.exists(location):
            assert verify_store(location).problems == ()
            unfinished += len(open_store(location).entries) < 15
    assert unfinished > 0  # else nothing was interrupted
    workers = start_workers(location, [(0, 9), (6, 15)])
    assert [worker.wait(60) for worker in workers] == [0, 0]
    assert_equals_undisturbed(location, tmp_path, 15)
