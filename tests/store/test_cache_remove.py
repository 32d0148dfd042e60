"""After a removal nothing of the participant is left, and everybody else is as before."""

import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from made_up_store import example_arrays, example_draft, example_header, example_row, tiny_png

from cache_schema.common.errors import StoreError
from cache_schema.format.identity import VolumeKey
from cache_schema.format.record import Failure
from cache_schema.move.pack import pack, unpack
from cache_schema.move.remove import remove_participant
from cache_schema.store.reader import open_store
from cache_schema.store.seal import seal
from cache_schema.store.writer import StoreWriter
from cache_schema.verify.verify import verify_store

TOKENS = ("cls", "patches")
GONE = "withdrawn"
KEYS = [
    VolumeKey("a", "", "T1w"),
    VolumeKey(GONE, "s1", "T1w"),
    VolumeKey("b", "", "T1w"),
    VolumeKey(GONE, "s2", "T1w"),
    VolumeKey("c", "", "T1w"),
    VolumeKey(GONE, "s2", "FLAIR"),
    VolumeKey("withdrawn2", "", "T1w"),
]
HEADER = example_header(TOKENS, slice_chunk=4)


def fill(location, keys=KEYS, failed=KEYS[5], seed=0):
    StoreWriter.open(location, HEADER, [example_row(key, 9) for key in keys[:4]])
    writer = StoreWriter.open(location, HEADER, [example_row(key, 9) for key in keys])
    for number, key in enumerate(keys):
        if key == failed:
            names = dict(zip(("participant_id", "session_id", "volume_id"), key.as_list(), strict=True))
            writer.fail(Failure(**names, path=f"{key}.nii.gz", reason="why"))
        else:
            png = tiny_png(int(key.digest[:2], 16))
            writer.commit(
                example_draft(key, 3 + number), example_arrays(HEADER, 3 + number, seed + number), preview=png
            )


@pytest.fixture(params=["plain", "sealed", "packed"])
def location(request, tmp_path):
    location = str(tmp_path / "store.zarr")
    fill(location)
    if request.param == "sealed":
        seal(location)
    elif request.param == "packed":
        pack(location, shard_volumes=3)
    return location


def traces(location):
    """Files that hold the participant's name, a key hash, or a byte string of one of its chunks."""
    mine = [key for key in KEYS if key.participant_id == GONE]
    numbers = [
        example_arrays(HEADER, 3 + n, n)[name].astype("<f2").tobytes()[:40]
        for n, key in enumerate(KEYS)
        if key in mine
        for name in TOKENS
    ]
    needles = [b'"withdrawn"', b"withdrawn/", *(key.digest.encode() for key in mine), *numbers]
    found = set()
    for folder, _, names in os.walk(os.path.dirname(location)):
        for name in names:
            with open(os.path.join(folder, name), "rb") as file:
                data = file.read()
            if any(needle in data or needle in name.encode() for needle in needles):
                found.add(os.path.relpath(os.path.join(folder, name), location))
    return found


def test_nothing_is_left_and_the_others_are_as_before(location):
    before = open_store(location)
    kept = [e for e in before.entries if e.key.participant_id != GONE]
    expected = {name: before.read(name, kept) for name in TOKENS}
    previews = [before.preview(e.key) for e in kept]
    assert len(traces(location)) > 5  # the search can find something
    removal = remove_participant(location, GONE)
    assert set(removal.volumes) == {KEYS[1], KEYS[3], KEYS[5]}
    assert removal.sealed == before.sealed
    assert traces(location) == set()
    after = open_store(location)
    assert list(after.entries) == kept
    assert after.sealed == before.sealed
    assert [after.preview(e.key) for e in kept] == previews
    for name in TOKENS:
        np.testing.assert_array_equal(after.read(name), expected[name])
    assert [row.key for row in after.table()] == [KEYS[0], KEYS[2], KEYS[4], KEYS[6]]
    assert after.failures() == ()
    verification = verify_store(location, full=True)
    assert (verification.problems, verification.notes) == ((), ())
    with pytest.raises(StoreError, match="no volume of participant 'withdrawn'"):
        remove_participant(location, GONE)


def test_a_row_is_never_given_again(location):
    remove_participant(location, GONE)
    if os.path.exists(f"{location}/packed.json"):
        unpack(location)
    fill(location, [*KEYS[:1], VolumeKey("new", "", "T1w"), KEYS[1]], failed=None, seed=50)
    assert [open_store(location).entry(VolumeKey("new", "", "T1w")).row] == [7]
    assert open_store(location).entry(KEYS[1]).row == 8
    assert verify_store(location, full=True).ok


def test_verify_tells_what_an_incomplete_removal_left(tmp_path):
    location = str(tmp_path / "store.zarr")
    fill(location)
    shutil.copytree(location, tmp_path / "copy")
    remove_participant(location, GONE)
    key = KEYS[1]
    for name in ("cls/c.1.0.0", f"previews/{key.digest[:2]}/{key.digest}.png"):
        shutil.copy(tmp_path / "copy" / name, f"{location}/{name}")
    found = {(p.volume, p.array) for p in verify_store(location, full=True).problems}
    assert found == {("row 1, which was withdrawn", "cls"), ("", "previews")}


def test_leftovers_of_killed_writers_go_too_and_live_ones_stop_it(tmp_path):
    import socket

    location = str(tmp_path / "store.zarr")
    fill(location)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    dead = f"~{socket.gethostname()}~{gone.pid}~a"
    half = tmp_path / f".store.zarr.rebuilding{dead}"
    half.mkdir()
    for path in (f"{location}/tmp/write{dead}", f"{location}/table/.000002.json{dead}", half / "x"):
        with open(path, "wb") as file:
            file.write(b'"withdrawn"')
    live = f"{location}/tmp/write~{socket.gethostname()}~{os.getpid()}~b"
    with open(live, "wb"):
        pass
    with pytest.raises(StoreError, match="is an unfinished write"):
        remove_participant(location, GONE)
    os.unlink(live)
    remove_participant(location, GONE)
    assert traces(location) == set()
    assert os.listdir(tmp_path) == ["store.zarr"]


@pytest.mark.parametrize("form", ["plain", "packed"])
def test_interrupted_after_any_step_and_run_again(tmp_path, monkeypatch, form):
    """Every write and deletion is made to be the last one in turn."""
    from cache_schema.files.objects import LocalObjects

    sound = str(tmp_path / "sound")
    fill(sound)
    if form == "packed":
        pack(sound, shard_volumes=3)
    others = [e for e in open_store(sound).entries if e.key.participant_id != GONE]
    location, steps, done = str(tmp_path / "here" / "store.zarr"), 0, False
    while not done:
        shutil.copytree(sound, location)
        left = steps
        with monkeypatch.context() as patch:
            for name, function in (("put", LocalObjects.put), ("delete", LocalObjects.delete)):

                def limited(self, *arguments, real=function):
                    nonlocal left
                    if left == 0:
                        raise KeyboardInterrupt
                    left -= 1
                    real(self, *arguments)

                patch.setattr(LocalObjects, name, limited)
            try:
                remove_participant(location, GONE)
                done = True
            except KeyboardInterrupt:
                pass
        problems = verify_store(location, full=True).problems
        assert not [p for p in problems if p.volume.split("/")[0] in ("a", "b", "c", "withdrawn2")]
        assert [e for e in open_store(location).entries if e.key.participant_id != GONE] == others
        if traces(location):
            remove_participant(location, GONE)
        assert traces(location) == set()
        assert list(open_store(location).entries) == others
        assert verify_store(location, full=True).problems == ()
        shutil.rmtree(location)
        steps += 1
    assert steps > 8


KILLED = """
import sys, time
import cache_schema.move.remove, zarr
location, start = sys.argv[1], float(sys.argv[2])
time.sleep(max(0.0, start - time.time()))
cache_schema.move.remove.remove_participant(location, "withdrawn")
"""


@pytest.mark.slow
@pytest.mark.parametrize("form", ["plain", "packed"])
def test_killed_twenty_times(tmp_path, form):
    sound, location = str(tmp_path / "sound"), str(tmp_path / "store.zarr")
    fill(sound)
    if form == "packed":
        pack(sound, shard_volumes=3)
    others = [e for e in open_store(sound).entries if e.key.participant_id != GONE]
    unfinished = 0
    for number in range(20):
        shutil.copytree(sound, location)
        start = time.time() + 0.9
        worker = subprocess.Popen([sys.executable, "-c", KILLED, location, str(start)])
        time.sleep(max(0.0, start - time.time()) + 0.0012 * number)
        worker.send_signal(signal.SIGKILL)
        worker.wait(10)
        store = open_store(location)
        assert [e for e in store.entries if e.key.participant_id != GONE] == others
        left = [row for row in store.table() if row.participant_id == GONE]
        unfinished += bool(left)
        if left:
            remove_participant(location, GONE)
        assert verify_store(location, full=True).problems == ()
        shutil.rmtree(location)
    assert unfinished > 0
