"""What the machine failed at is told from what was asked wrongly, and room is asked for."""

import errno
import os
from pathlib import Path

import pytest

from cache_schema.common.errors import ConfigError, MachineError, StoreError
from cache_schema.common.machine import is_machine, refuse_machine
from cache_schema.common.terminal.command import in_words
from cache_schema.common.terminal.visible import label, visible
from cache_schema.files.disk.room import require_room, require_target, require_writable
from cache_schema.files.disk.whole import replacing, write_whole


def failed(number: int) -> OSError:
    return OSError(number, os.strerror(number))


@pytest.mark.parametrize(
    "error",
    [
        failed(errno.ENOSPC),
        PermissionError(errno.EACCES, "Permission denied"),
        OSError(
            "Can't write data (file write failed: errno = 28, error message = 'No space left on device')"
        ),
        RuntimeError("I/O error: No space left on device (os error 28)"),
        MemoryError("Unable to allocate 9 TiB"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    ],
    ids=str,
)
def test_the_machine_is_known_by_number_or_by_text(error):
    assert is_machine(error)
    with pytest.raises(MachineError, match="cannot write 'there': "):
        refuse_machine(error, "write", "there")


@pytest.mark.parametrize(
    "error",
    [
        failed(errno.ENOENT),
        failed(errno.EISDIR),
        failed(errno.EEXIST),
        ValueError("28"),
        OSError("no number"),
    ],
    ids=str,
)
def test_a_mistake_is_not_the_machine(error):
    assert not is_machine(error)
    refuse_machine(error, "write", "there")


def test_every_error_is_one_line_and_has_its_code():
    caused = StoreError("cannot read the table 'x.tsv': Permission denied")
    caused.__cause__ = failed(errno.EACCES)
    assert in_words(ConfigError("a sentence")) == ("a sentence", 2)
    assert in_words(MachineError("full")) == ("full", 3)
    assert in_words(caused) == (str(caused), 3)
    assert in_words(OSError(errno.ENOSPC, "No space left on device", "/mnt/x"))[0].startswith(
        "cannot use '/mnt/x': the disk is full"
    )
    told, code = in_words(OSError(errno.ENOENT, "No such file or directory", "/mnt/x"))
    assert (told, code) == ("cannot use '/mnt/x': No such file or directory", 2)
    told, code = in_words(KeyError("x\ny"))
    assert code == 3
    assert "\n" not in told


def test_a_probe_leaves_nothing_and_makes_nothing(tmp_path: Path):
    require_writable(tmp_path / "a" / "b", "the run folder")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("mine")
    with pytest.raises(MachineError, match=r"the run folder '.*/file/x' cannot .* '.*/file' is a file"):
        require_writable(tmp_path / "file" / "x", "the run folder")
    with pytest.raises(MachineError, match=r"there is no folder '.*/missing'; make it first"):
        require_target(tmp_path / "missing" / "x.csv", "--out")
    with pytest.raises(MachineError, match="name a file in it"):
        require_target(tmp_path, "--out")
    require_target(tmp_path / "x.csv", "--out")


def test_room_is_held_against_what_is_free(tmp_path: Path):
    free = os.statvfs(tmp_path)
    require_room(tmp_path / "new", "the store", 0, 0)
    require_room("s3://bucket/store", "the store", 10**30, 10**30)
    with pytest.raises(MachineError, match=r"may take 1e\+09 TB, and .* are free"):
        require_room(tmp_path / "new", "the store", 10**21, 1)
    if free.f_files:
        with pytest.raises(MachineError, match=r"files, and .* more can be made"):
            require_room(tmp_path / "new", "the store", 0, 10**15)


def test_a_write_that_fails_names_its_file_and_leaves_the_old_one(tmp_path: Path):
    target = tmp_path / "metrics.json"
    write_whole(target, b"old")

    def write_half() -> None:
        with replacing(target) as beside:
            beside.write_bytes(b"ha")
            raise failed(errno.ENOSPC)

    with pytest.raises(MachineError, match=r"cannot write '.*metrics.json': the disk is full"):
        write_half()
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.json"]
    assert target.read_bytes() == b"old"


def test_text_of_others_does_nothing():
    assert visible("plain ünïcode\n\t") == "plain ünïcode\n\t"
    assert visible("a\x1b[31m\x00\u202e") == r"a\x1b[31m\x00\u202e"
    assert visible("می\u200cخواهم") == "می\u200cخواهم"  # Persian needs its joiners
    assert label("two\nlines") == "two lines"
    assert len(label("x" * 10_000)) == 60
