"""HDF5 files from elsewhere are opened by a process of its own, which this one asks.

HDF5's C library does not live through a damaged file: it ran for ever (2.0, in an attribute), and it spoiled
the memory of its process so that later files failed and the process ended in an abort (1.14). So it runs in
`serving`, under limits, and what it does there is an answer or a refusal here. A process has one such
process, started when it is first needed, which answers one question at a time and ends with it.
"""

import atexit
import os
import threading
from typing import Any

from cache_schema.files.h5.caps import UnusualHdf5
from cache_schema.files.h5.running import Answer, Running, UnreadableHdf5
from cache_schema.files.h5.wire import DONE, UNOPENED, UNUSUAL, question

OPENING_S = 20.0
"""Of the processor, to open a file and look something up; a sound one takes milliseconds, and one with the
chunks of a million volumes two seconds."""


def ask(what: str, path: str | os.PathLike[str], *, most: int = 0, **given: Any) -> Answer:
    """Ask about an HDF5 file.

    Args:
        what: One of `serving.__main__.QUESTIONS`.
        path: The file.
        most: Bytes that may come with the answer.
        given: What belongs to the question.

    Raises:
        UnusualHdf5: If there is something in it that is not read.
        UnreadableHdf5: If it is damaged, or no HDF5 file.
        MachineError: If no process can be started.
    """
    line = question(question=what, path=os.path.abspath(path), seconds=OPENING_S, **given)
    said, body = APART.ask(line, most)
    kind = said.get("kind")
    if kind == DONE:
        return said, body
    says = str(said.get("says"))
    raise UnusualHdf5(says) if kind == UNUSUAL else UnreadableHdf5(says, opened=kind != UNOPENED)


class Apart:
    """The process in which HDF5 runs for this one."""

    def __init__(self) -> None:
        """Nothing is started."""
        self._lock = threading.Lock()
        self.running: Running | None = None

    def ask(self, line: bytes, most: int) -> Answer:
        """Put a question; the process is given up where that does not end in an answer.

        Raises:
            UnreadableHdf5: If the process dies of it, or answers nonsense.
            MachineError: If none can be started.
        """
        with self._lock:
            if self.running is None or not self.running.lives():
                self.end()
                self.running = Running()
            try:
                return self.running.ask(line, most)
            except BaseException:  # Ctrl-C, too: an answer that nobody took would pass for the next one
                self.end()
                raise

    def end(self) -> None:
        """End the process, if one is running."""
        running, self.running = self.running, None
        if running is not None:
            running.end()

    def forget(self) -> None:
        """In a forked child: the process is the parent's, and who may have held the lock is not here."""
        running, self.running = self.running, None
        self._lock = threading.Lock()
        if running is not None:
            running.forget()


APART = Apart()
atexit.register(APART.end)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=APART.forget)
