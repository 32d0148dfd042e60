"""Unfinished files of processes that are gone, and of processes that live: for tests and benchmarks."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

ASK = "from cache_schema.files.disk.unfinished import owner_token; print(owner_token())"
HOLD = """
import sys
from cache_schema.files.disk.unfinished import new_file, new_folder
what, stem = sys.argv[1:]
if what == "file":
    held = new_file(stem)
    held.write(b"part")
    held.flush()
    print(held.name, flush=True)
else:
    context = new_folder(stem)
    print(context.__enter__(), flush=True)
sys.stdin.read()
"""


def dead_token() -> str:
    """The ending that a process of this machine gave its unfinished things; it is gone."""
    return subprocess.run(
        [sys.executable, "-c", ASK], capture_output=True, text=True, check=True
    ).stdout.strip()


@contextmanager
def held_by_another(what: str, stem: str) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """Another process that holds an unfinished file or folder: its path, and the process."""
    command = [sys.executable, "-c", HOLD, what, stem]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        try:
            yield process.stdout.readline().strip(), process
        finally:
            process.stdin.close()
            process.wait()
