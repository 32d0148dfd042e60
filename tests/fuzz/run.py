"""One case: an input made from (target, seed, number), handed to the parser, and what came of it."""

import importlib
import re
import shutil
import signal
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, Literal

from cache_schema.files.h5 import apart
from fuzz.mutate import mutated
from fuzz.target import Files, Target

LIMIT_S = 5.0
LONGEST = 3000
"""Characters of a sentence; what somebody wrote is cut before it fills a screen."""

NOT_OURS = re.compile(
    r"\n|\x1b|\[type=|for further information|Input should|validation error|discriminator|pydantic|Traceback|"
    r"<class |<function | object at 0x|tag:yaml\.org"
)
"""Words of libraries, line breaks and terminal codes, which have no place in a sentence of ours."""


class TooLong(BaseException):
    """The limit was reached; no `Exception`, so that no parser takes it for one of its own."""


@dataclass(frozen=True)
class Outcome:
    """What came of one case."""

    verdict: Literal["accepted", "refused", "fault"]
    said: str
    where: str = ""
    """Of a fault, the last line of ours that it passed: equal faults have equal places."""


@cache
def seeds_of(target: Target) -> tuple[Files, ...]:
    """A target's valid inputs, made once."""
    return tuple(target.seeds())


def make_case(target: Target, seed: int, number: int) -> Files:
    """The input of a case, the same on every machine."""
    rng = Random(f"{target.name}:{seed}:{number}")
    seeds = seeds_of(target)
    made = mutated(rng.choice(seeds), seeds, rng)
    if target.reseal is not None and rng.random() < 0.6:
        try:
            return target.reseal(dict(made))
        except Exception:  # what is too damaged to be sealed again is tried as it is
            return made
    return made


def write_case(files: Files, folder: Path) -> None:
    """Write an input into an empty folder; names that the file system refuses are left out."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, data in files.items():
        path = folder / name
        try:
            if folder.resolve() in path.resolve().parents:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
        except (OSError, ValueError):
            continue


def try_case(target: Target, files: Files, folder: Path, limit_s: float = LIMIT_S) -> Outcome:
    """Hand one input to the parser."""
    write_case(files, folder)
    try:
        with _limited(limit_s), warnings.catch_warnings():
            warnings.simplefilter("error")
            target.parse(folder)
    except TooLong as error:
        return Outcome("fault", f"longer than {limit_s:g} s", _place_of(error))
    except target.refusals as error:
        return _judged(str(error), error)
    except Exception as error:  # the fault that is looked for
        return Outcome("fault", f"{type(error).__name__}: {error}"[:500], _place_of(error))
    return Outcome("accepted", "")


def _judged(said: str, error: Exception) -> Outcome:
    """Whether a refusal is one sentence of ours."""
    if not said.strip():
        return Outcome("fault", "an empty sentence", _place_of(error))
    if found := NOT_OURS.search(said):
        return Outcome("fault", f"says {found[0]!r}: {said[:500]}", _place_of(error))
    if len(said) > LONGEST:
        return Outcome("fault", f"{len(said)} characters: {said[:200]}", _place_of(error))
    return Outcome("refused", said)


def _place_of(error: BaseException) -> str:
    """File and line of ours that an error passed last."""
    ours = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if any(f"/{room}/" in frame.filename for room in ("cache_schema", "extract", "aggregate"))
    ]
    return (
        f"{type(error).__name__} at {ours[-1].filename.rpartition('/')[2]}:{ours[-1].lineno}" if ours else "?"
    )


@contextmanager
def _limited(seconds: float) -> Iterator[None]:
    """Raise `TooLong` inside when it takes longer, in the processor's time: other work does not count."""

    def stop(*_: Any) -> None:
        raise TooLong

    before = signal.signal(signal.SIGPROF, stop)
    opening, apart.OPENING_S = apart.OPENING_S, LIMIT_S  # another process's time
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        apart.OPENING_S = opening
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


class Lines:
    """Counts which lines of some modules' functions were reached."""

    def __init__(self, modules: tuple[str, ...]) -> None:
        """Modules by name."""
        files = [str(importlib.import_module(name).__file__) for name in modules]
        self.expected = {(path, line) for path in files for line in _function_lines(path)}
        self.reached: set[tuple[str, int]] = set()
        self._files = frozenset(files)

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count what runs inside."""
        before = sys.gettrace()
        sys.settrace(self._call)
        try:
            yield
        finally:
            sys.settrace(before)

    @property
    def share(self) -> float:
        """Of the lines, how many were reached."""
        return len(self.reached & self.expected) / max(1, len(self.expected))

    def _call(self, frame: Any, event: str, argument: Any) -> Any:
        return self._line if frame.f_code.co_filename in self._files else None

    def _line(self, frame: Any, event: str, argument: Any) -> Any:
        if event == "line":
            self.reached.add((frame.f_code.co_filename, frame.f_lineno))
        return self._line


def _function_lines(path: str) -> set[int]:
    """Lines of code inside functions, their first lines and docstrings not counted."""
    found: set[int] = set()
    left = [compile(Path(path).read_text(encoding="utf-8"), path, "exec")]
    while left:
        code = left.pop()
        left += [inner for inner in code.co_consts if hasattr(inner, "co_code")]
        if code.co_flags & 0x2:  # CO_NEWLOCALS and CO_OPTIMIZED mark functions, not modules and classes
            found |= {line for *_, line in code.co_lines() if line and line != code.co_firstlineno}
    return found
