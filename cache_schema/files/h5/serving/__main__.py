"""The process in which HDF5 runs: questions in, answers out.

This process never opens a file. It makes a copy of itself (a fork, 2 ms) for every question, which opens one
file, answers, and is gone with whatever HDF5 made of its memory. Where there is no fork it answers once.
It ends when nobody can ask any more, and after a copy that died, by the number of the signal.
"""

import json
import os
import sys
from collections.abc import Callable
from typing import Any

from cache_schema.files.h5.caps import UnusualHdf5
from cache_schema.files.h5.serving.limits import (
    end_with_parent,
    limit_memory,
    limit_processor,
    no_core,
    widen,
)
from cache_schema.files.h5.serving.places import store_places
from cache_schema.files.h5.serving.volumes import dataset_facts, voxels
from cache_schema.files.h5.wire import BROKEN, DONE, UNOPENED, UNUSUAL, answer

QUESTIONS: dict[str, Callable[..., tuple[dict[str, Any], Any]]] = {
    "dataset": dataset_facts,
    "voxels": voxels,
    "store": store_places,
}


def main() -> None:
    """Answer until standard input ends."""
    out = os.dup(1)
    os.dup2(2, 1)  # what a library prints is no answer
    no_core()
    widen(out)
    try:
        import h5py  # noqa: F401  # before the copies are made
    except Exception as error:
        _send(out, {"kind": BROKEN, "says": _words(error)})
        return
    _send(out, {"kind": DONE})
    while line := sys.stdin.buffer.readline():
        if not hasattr(os, "fork"):
            _reply(line, out)
            return
        ended = _in_a_copy(line, out)
        if ended:
            os._exit(128 - ended if ended < 0 else ended)


def _in_a_copy(line: bytes, out: int) -> int:
    """Answer a question in a copy of this process; how that ended, a signal as a negative number."""
    copy = os.fork()
    if copy == 0:
        try:
            end_with_parent()
            _reply(line, out)
            os._exit(0)
        finally:  # whatever it was: nothing of this process may run twice
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(copy, 0)[1])


def _reply(line: bytes, out: int) -> None:
    """Answer a question."""
    given = json.loads(line)
    limit_processor(given["seconds"])
    limit_memory()
    said, body = _looked_up(given.pop("question"), given.pop("path"), given)
    _send(out, said, body)


def _looked_up(question: str, path: str, given: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    """Open the file and find out; whatever is wrong with it is an answer, too."""
    import h5py

    try:
        file = h5py.File(path, "r")
    except Exception as error:
        return {"kind": UNOPENED, "says": _words(error)}, b""
    try:
        said, body = QUESTIONS[question](file, **given)
        return {"kind": DONE, **said}, body
    except UnusualHdf5 as error:
        return {"kind": UNUSUAL, "says": _words(error)}, b""
    except Exception as error:  # HDF5's own are of any kind
        return {"kind": BROKEN, "says": _words(error)}, b""


def _words(error: Exception) -> str:
    """An error's text, not longer than anybody reads."""
    return " ".join(str(error)[:2000].split()) or type(error).__name__


def _send(out: int, said: dict[str, Any], body: Any = b"") -> None:
    """Write an answer."""
    for part in (answer(said, len(body)), body):
        view = memoryview(part)
        while len(view):
            view = view[os.write(out, view) :]


if __name__ == "__main__":
    main()
