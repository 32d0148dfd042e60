"""`status --watch` as its user sees it: in a terminal, in a pipe, and when they have seen enough."""

import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from made_up_store import example_arrays, example_draft, example_header, example_key, example_row

from cache_schema.store.writer import StoreWriter

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, str(ROOT / "slicecache.py")]


@pytest.fixture
def unfinished(tmp_path) -> StoreWriter:
    """A store of two volumes, one of them left."""
    header = example_header(("cls",))
    rows = [example_row(example_key(number), 5) for number in range(2)]
    writer = StoreWriter.open(str(tmp_path / "s.zarr"), header, rows)
    writer.commit(example_draft(example_key(0), 5), example_arrays(header, 5))
    return writer


def in_a_terminal(arguments: list[str], enough: bytes) -> tuple[int, bytes]:
    """Run the command in a pseudo terminal, press Ctrl-C when enough is seen; its exit code and output."""
    child, terminal = pty.fork()
    if child == 0:
        os.execv(sys.executable, [*COMMAND, *arguments])
    seen = b""
    end = time.monotonic() + 60
    try:
        while time.monotonic() < end:
            ready, _, _ = select.select([terminal], [], [], 0.1)
            if ready:
                try:
                    data = os.read(terminal, 65536)
                except OSError:  # it closed its side
                    break
                seen += data
            if enough and seen.count(enough) >= 2:
                os.write(terminal, b"\x03")
                enough = b""
    finally:
        os.close(terminal)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), seen


def test_a_terminal_is_redrawn_until_ctrl_c(unfinished):
    arguments = ["status", unfinished.location, "--watch", "--every", "1"]
    code, seen = in_a_terminal(arguments, b"nobody is at work")
    assert code == 0
    assert seen.count(b"\x1b[H\x1b[2J") >= 2
    assert b"1 left" in seen
    assert b"Traceback" not in seen


def watched(unfinished: StoreWriter) -> "subprocess.Popen[str]":
    """A pipe's watch of a store."""
    arguments = ["status", unfinished.location, "--watch", "--every", "1"]
    return subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.PIPE, text=True)


def test_a_pipe_has_lines_until_all_is_done(unfinished):
    with watched(unfinished) as watching:
        lines = [watching.stdout.readline()]
        draft = example_draft(example_key(1), 5)
        unfinished.commit(draft, example_arrays(unfinished.header, 5))
        lines += watching.stdout.readlines()
    assert watching.returncode == 0
    assert "1 left; nobody is at work" in lines[0]
    assert "0 left" in lines[-1]
    assert not any("\x1b" in line for line in lines)


def test_a_pipe_is_left_by_ctrl_c(unfinished):
    with watched(unfinished) as watching:
        watching.stdout.readline()
        watching.send_signal(signal.SIGINT)
        assert watching.wait(30) == 0
