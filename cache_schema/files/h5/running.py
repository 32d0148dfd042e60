"""One running process in which HDF5 runs: started, asked, and ended."""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

from cache_schema.common.errors import MachineError
from cache_schema.common.machine import refuse_machine
from cache_schema.files.h5.wire import DONE, HEAD, MOST_JSON

COMMAND = ("-P", "-W", "ignore", "-m", "cache_schema.files.h5.serving")
ENDING_S = 5.0
"""A process that closed its end is gone after so long, or it is ended."""
WHAT = "the process that reads HDF5 files"

Answer = tuple[dict[str, Any], bytearray]
"""What is said, and the bytes behind it."""


class UnreadableHdf5(ValueError):
    """HDF5 cannot read a file, or does not survive that; the sentence does not say which file."""

    def __init__(self, says: str, opened: bool = True) -> None:
        """Hold whether it is an HDF5 file at all."""
        super().__init__(says)
        self.opened = opened


class _GarbledError(Exception):
    """What came was no answer."""


class Running:
    """A process that answers questions, one at a time."""

    def __init__(self) -> None:
        """Start it, and wait until HDF5 is there.

        Raises:
            MachineError: If that fails.
        """
        try:
            self._process = subprocess.Popen(
                [sys.executable, *COMMAND],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                env=_environment(),
                start_new_session=True,
            )
        except OSError as error:
            refuse_machine(error, "start", WHAT)
            raise MachineError(f"{WHAT} cannot be started: {error}") from error
        self._questions = cast(io.FileIO, self._process.stdin)
        self._answers = cast(io.FileIO, self._process.stdout)
        try:
            self._require_ready()
        except BaseException:
            self.end()
            raise

    def _require_ready(self) -> None:
        """Wait for its first word."""
        try:
            said, _ = self._answer(0)
        except (EOFError, _GarbledError) as error:
            raise MachineError(f"{WHAT} ended as it was started") from error
        if said.get("kind") != DONE:
            raise MachineError(f"{WHAT} cannot be started: {said.get('says')}")

    @property
    def number(self) -> int:
        """Of the process."""
        return self._process.pid

    def lives(self) -> bool:
        """Whether it can be asked."""
        return self._process.poll() is None

    def ask(self, line: bytes, most: int) -> Answer:
        """Put a question.

        Args:
            line: As `wire.question` makes it.
            most: Bytes that may come with the answer.

        Raises:
            UnreadableHdf5: If the process dies of it, or answers nonsense.
        """
        try:
            view = memoryview(line)
            while len(view):
                view = view[self._questions.write(view) or 0 :]
            return self._answer(most)
        except (EOFError, BrokenPipeError):
            raise UnreadableHdf5(self._why_ended()) from None
        except _GarbledError:
            raise UnreadableHdf5("the HDF5 library answers nonsense: the file is damaged") from None

    def end(self) -> None:
        """End it, and its copy; they only read, so nothing is lost."""
        if self._process.poll() is None and hasattr(os, "killpg"):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)  # it leads a group of its own
        self._process.kill()
        self._process.wait()
        self._close()

    def forget(self) -> None:
        """In a forked child, whose process it is not: let go of it and leave it alone."""
        self._process.returncode = 0  # so that nobody waits for it
        self._close()

    def _close(self) -> None:
        """Close this end."""
        self._questions.close()
        self._answers.close()

    def _answer(self, most: int) -> Answer:
        """Read an answer; nothing is believed of it, since who wrote it has read a damaged file.

        Raises:
            EOFError: If the process ended.
            _GarbledError: If it is none.
        """
        text, n_bytes = HEAD.unpack(self._read(HEAD.size))
        if text > MOST_JSON or n_bytes > most:
            raise _GarbledError
        try:
            said = json.loads(self._read(text))
        except (ValueError, RecursionError) as error:
            raise _GarbledError from error
        if not isinstance(said, dict):
            raise _GarbledError
        return said, self._read(n_bytes)

    def _read(self, n_bytes: int) -> bytearray:
        """So many bytes.

        Raises:
            EOFError: If there are fewer.
        """
        found = bytearray(n_bytes)
        view = memoryview(found)
        while len(view):
            got = self._answers.readinto(view)
            if not got:
                raise EOFError
            view = view[got:]
        return found

    def _why_ended(self) -> str:
        """In words, how the process ended: by a signal, or by the number of the one that its copy died of."""
        try:
            code = self._process.wait(ENDING_S)
        except subprocess.TimeoutExpired:
            return "the process that read it closed its end: the file is damaged"
        number = -code if code < 0 else code - 128
        named = {int(each): each.name for each in signal.Signals}.get(number, f"code {code}")
        if named == "SIGXCPU":
            return "the HDF5 library does not come to an end with it: the file is damaged"
        if named == "SIGKILL":
            return "the process that read it was killed: the file is damaged, or memory ran out"
        return f"the HDF5 library does not survive it ({named}): the file is damaged"


def _environment() -> dict[str, str]:
    """This process's own, in which the same packages are found and no library starts threads."""
    house = str(Path(__file__).parents[3])
    places = [*(os.path.abspath(place) for place in sys.path), house]
    single = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return {**os.environ, **single, "PYTHONPATH": os.pathsep.join(places)}
