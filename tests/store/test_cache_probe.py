"""What a file system says of itself when it is tried; odd ones are made by system calls that answer oddly."""

import errno
import fcntl
import os
from pathlib import Path

import pytest

from cache_schema.common.errors import MachineError
from cache_schema.files.disk import probe as probing
from cache_schema.files.disk.mounts import mount_of
from cache_schema.files.disk.probe import QUESTIONS, probe


def refusing(code):
    def refuse(*given, **named):
        raise OSError(code, os.strerror(code))

    return refuse


def test_this_disk_does_what_a_store_needs_and_is_left_as_it_was(tmp_path):
    found = probe(tmp_path / "not" / "there" / "yet")
    assert {question: found.found[question] for question in QUESTIONS} == dict.fromkeys(QUESTIONS, "")
    assert 0 < found.time_ns < 10**9
    assert list(tmp_path.iterdir()) == []


def two_have_a_lock(monkeypatch):
    monkeypatch.setattr(fcntl, "flock", lambda file, how: None)


def links_replace(monkeypatch):
    real = os.link
    monkeypatch.setattr(os, "link", lambda a, b: Path(b).exists() or real(a, b))


def renames_merge(monkeypatch):
    real = os.rename
    monkeypatch.setattr(os, "rename", lambda a, b: Path(b).exists() or real(a, b))


def case_is_lost(monkeypatch):
    real = Path.exists
    monkeypatch.setattr(Path, "exists", lambda path: path.name == "NAME" or real(path))


def names_are_decomposed(monkeypatch):
    real = os.listdir
    monkeypatch.setattr(os, "listdir", lambda place: [name.replace("ä", "a\u0308") for name in real(place)])


@pytest.mark.parametrize(
    ("question", "spoil", "reason"),
    [
        ("hard links", lambda m: m.setattr(os, "link", refusing(errno.EPERM)), "not permitted"),
        ("hard links", links_replace, "went through"),
        ("rename over", lambda m: m.setattr(os, "replace", refusing(errno.EACCES)), "denied"),
        ("rename of folders", renames_merge, "not empty"),
        ("swap of folders", lambda m: m.setattr(probing, "exchange", lambda a, b: False), "cannot swap"),
        ("sync of folders", lambda m: m.setattr(probing, "sync_file", refusing(errno.EINVAL)), "Invalid"),
        ("locks", lambda m: m.setattr(fcntl, "flock", refusing(errno.ENOLCK)), "locks"),
        ("locks", two_have_a_lock, "one lock"),
        ("case", case_is_lost, "one file"),
        ("names", names_are_decomposed, "spelling"),
    ],
)
def test_what_is_missing_is_named_and_nothing_else(tmp_path, monkeypatch, question, spoil, reason):
    spoil(monkeypatch)
    found = probe(tmp_path)
    monkeypatch.undo()
    assert reason in found.found[question]
    assert {name for name, why in found.found.items() if why} == {question}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("step", [1, 1000, 10**9, 2 * 10**9])
def test_the_step_of_times_is_measured(tmp_path, monkeypatch, step):
    real = os.utime

    def coarse(path, times=None, *, ns=None):
        real(path, times) if ns is None else real(path, ns=tuple(time // step * step for time in ns))

    monkeypatch.setattr(os, "utime", coarse)
    assert probe(tmp_path).time_ns == step


def test_a_disk_without_room_is_the_machines_failure(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "link", refusing(errno.ENOSPC))
    with pytest.raises(MachineError, match="disk is full"):
        probe(tmp_path)


def test_a_mount_on_top_of_another_counts(monkeypatch):
    table = "1 0 0:1 / / rw - ext4 a rw\n2 1 0:2 / /home rw - nfs4 b rw\n3 2 0:3 / /home rw - xfs c rw"
    monkeypatch.setattr(Path, "read_text", lambda self, *a: table)
    assert [mount_of(path).kind for path in ("/home/x", "/homes")] == ["xfs", "ext4"]
