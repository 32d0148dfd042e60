"""What a live process works on is never swept, whatever clock, number or host name say; what is left is."""

import itertools
import os
import time
from pathlib import Path

import pytest
from leftovers import dead_token, held_by_another
from made_up_store import example_arrays, example_draft, example_header, example_key, example_row

from cache_schema.files.disk import unfinished
from cache_schema.files.disk.unfinished import is_local, new_file, new_folder, owner_of, owner_token, sweep
from cache_schema.store.writer import StoreWriter
from cache_schema.verify.verify import verify_store

HEADER = example_header()
TIMES = {"1970": 0.0, "days ago": time.time() - 200_000, "now": time.time(), "2100": 4_102_444_800.0}
STEMS = [("file", "tmp/write"), ("file", "table/.000001.json"), ("folder", "../.store.zarr.creating")]


@pytest.fixture
def location(tmp_path: Path) -> str:
    location = str(tmp_path / "store.zarr")
    writer = StoreWriter.open(location, HEADER, [example_row(example_key(0), 5)])
    writer.commit(example_draft(example_key(0), 5), example_arrays(HEADER, 5, 0))
    return location


def open_again(location: str) -> None:
    StoreWriter.open(location, HEADER, [])


@pytest.mark.parametrize("local", [True, False], ids=["a disk of this machine", "a shared file system"])
@pytest.mark.parametrize(("what", "stem"), STEMS)
def test_a_live_process_keeps_it_whatever_the_clock_says(location, monkeypatch, what, stem, local):
    monkeypatch.setattr(unfinished, "is_local", lambda path: local)
    with held_by_another(what, f"{location}/{stem}") as (path, process):
        for now, made in itertools.product(TIMES.values(), repeat=2):
            monkeypatch.setattr(time, "time", lambda now=now: now)
            os.utime(path, (made, made))
            open_again(location)
            assert os.path.exists(path)
        assert verify_store(location).notes == ()
        process.kill()
        process.wait()
        open_again(location)
        assert not os.path.exists(path)  # the lock was what kept it


@pytest.mark.parametrize("local", [True, False])
def test_the_lock_counts_and_not_the_number_or_host_in_the_name(location, monkeypatch, local):
    """A sibling container with this host's name: its process numbers mean others here, or nobody."""
    monkeypatch.setattr(unfinished, "is_local", lambda path: local)
    with held_by_another("file", f"{location}/tmp/write") as (path, process):
        gone = f"{location}/tmp/write{dead_token()}"
        os.rename(path, gone)
        open_again(location)
        assert os.path.exists(gone)
        process.kill()
        process.wait()
        open_again(location)
        assert not os.path.exists(gone)


def test_a_recycled_process_number_keeps_nothing_for_ever_on_a_local_disk(location, monkeypatch):
    """The owner is gone, and its number is that of a process that lives: this one."""
    path = f"{location}/tmp/write{owner_token()}"
    Path(path).write_bytes(b"part")
    monkeypatch.setattr(unfinished, "is_local", lambda path: False)
    open_again(location)
    assert os.path.exists(path)
    monkeypatch.setattr(unfinished, "is_local", lambda path: True)
    open_again(location)
    assert not os.path.exists(path)


def test_elsewhere_nobody_can_be_asked_so_it_stays_and_is_named(location, monkeypatch):
    names = {
        "another machine": "write~elsewhere~1~0123456789ab.1",
        "this machine before its last start": f"write~{owner_of(dead_token()).host}~999999~0123456789ab.2",
        "an older version": "write~elsewhere~1~d2",
        "nobody knows": "write",
    }
    for name in names.values():
        Path(location, "tmp", name).write_bytes(b"part")
        os.utime(Path(location, "tmp", name), (0, 0))
    monkeypatch.setattr(unfinished, "is_local", lambda path: False)
    open_again(location)
    assert sorted(os.listdir(f"{location}/tmp")) == sorted(names.values())
    verification = verify_store(location)
    assert verification.ok
    assert [note for note in verification.notes if "4 unfinished files" in note and "delete" in note]
    monkeypatch.setattr(unfinished, "is_local", lambda path: True)
    open_again(location)
    assert sorted(os.listdir(f"{location}/tmp")) == ["write", "write~elsewhere~1~d2"]


def test_without_locks_nothing_is_swept(location, monkeypatch):
    path = f"{location}/tmp/write{dead_token()}"
    Path(path).write_bytes(b"part")

    def no_locks(file, how):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(unfinished.fcntl, "flock", no_locks)
    StoreWriter.open(location, HEADER, [example_row(example_key(1), 5)])  # and writing works
    assert os.path.exists(path)


def test_a_sweeper_that_comes_between_making_and_locking_wins_and_a_new_one_is_made(tmp_path, monkeypatch):
    real, swept = unfinished._hold, []

    def late(file, path):
        if not swept:
            swept.append(sweep(path))
        return real(file, path)

    monkeypatch.setattr(unfinished, "_hold", late)
    with new_file(str(tmp_path / "write")) as file:
        assert swept == [True]
        assert os.listdir(tmp_path) == [os.path.basename(file.name)]


def test_a_link_is_not_followed(tmp_path):
    target = tmp_path / "precious"
    target.write_text("mine")
    link = tmp_path / f"write{dead_token()}"
    link.symlink_to(target)
    assert not sweep(link)
    assert target.read_text() == "mine"


def test_two_sweepers_and_a_name_that_went_to_another(tmp_path):
    path = tmp_path / f"write{dead_token()}"
    path.write_bytes(b"part")
    assert sweep(path)
    assert not sweep(path)


def test_the_mounts_say_what_is_local(tmp_path, monkeypatch):
    table = "\n".join(
        [
            "22 1 254:0 / / rw,relatime - ext4 /dev/vda rw",
            "30 22 0:40 / /mnt/sh\\303\\244red\\040disk rw - nfs4 server:/x rw".replace("\\303\\244", "ä"),
            "31 30 8:1 / /mnt/shäred\\040disk/scratch rw - xfs /dev/sda rw",
            "32 22 0:41 / /data rw - lustre 1@o2ib:/x rw",
        ]
    )
    real = Path.read_text
    monkeypatch.setattr(
        Path, "read_text", lambda self, *a: table if "mountinfo" in str(self) else real(self, *a)
    )
    found = {
        name: is_local(name)
        for name in ("/home/x", "/mnt/shäred disk/y", "/mnt/shäred disk/scratch/z", "/data/s", "/database")
    }
    assert list(found.values()) == [True, False, True, False, True]


def test_a_folder_that_is_swept_before_it_is_locked_is_made_anew(tmp_path, monkeypatch):
    opened, swept = os.open, []

    def late(path, flags, *rest):
        if not swept and flags & os.O_DIRECTORY:
            swept.append(path)
            Path(path).rmdir()
        return opened(path, flags, *rest)

    monkeypatch.setattr(os, "open", late)
    with new_folder(str(tmp_path / "store")) as made:
        assert made.is_dir()
        assert swept
        assert made != swept[0]
