"""What a file system does with links, renames, locks and names: tried in a folder of our own, then deleted.

A store rests on these: a record, a header and a table are put by renaming over; what may be made only once by
a hard link that fails when the name is taken; a store by renaming a folder to a free name.
"""

import contextlib
import errno
import fcntl
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cache_schema.common.machine import refuse_machine
from cache_schema.files.disk.durable import NOT_FOR_FOLDERS, sync_file
from cache_schema.files.disk.exchange import exchange
from cache_schema.files.disk.mounts import Mount, mount_of
from cache_schema.files.disk.room import existing
from cache_schema.files.disk.unfinished import new_folder

ODD_TIME = 1_700_000_001_234_567_891
"""Nanoseconds; no clock that ticks coarser keeps them all."""
LONG_NAME = "write~" + "n" * 190 + "~1~0123456789ab.cdef"
"""Longer than a store's own names, which hold the name of a host."""
WORDS_OF_NAMES = "sub-ä_T1w~1"


@dataclass(frozen=True, slots=True)
class Semantics:
    """How a file system answered."""

    mount: Mount
    found: Mapping[str, str]
    """Question of `QUESTIONS` -> empty for yes, else the reason why not."""
    time_ns: int
    """What it keeps of a file's time: multiples of so many nanoseconds; 0 for nothing of it."""

    def lacks(self, question: str) -> str | None:
        """Why not; None for yes."""
        return self.found.get(question) or None


class No(Exception):
    """The file system answered, and not as a store needs it."""


def probe(folder: str | Path) -> Semantics:
    """Try everything in a temporary folder inside `folder`, or where that would be made.

    Raises:
        MachineError: If nothing can be written there.
    """
    above = existing(Path(folder).expanduser().absolute())
    try:
        with new_folder(str(above / ".probe")) as place:
            found = {
                question: _tried(ask, place / str(i)) for i, (question, ask) in enumerate(QUESTIONS.items())
            }
            return Semantics(mount_of(above), found, _time_ns(place / "time"))
    except OSError as error:
        refuse_machine(error, "write to", above)
        raise


def _tried(ask: Callable[[Path], None], place: Path) -> str:
    """One question in a folder of its own; the reason why not."""
    try:
        place.mkdir()
        ask(place)
    except No as answer:
        return str(answer)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise
        return error.strerror or type(error).__name__
    return ""


def _links(place: Path) -> None:
    (place / "a").write_bytes(b"a")
    os.link(place / "a", place / "b")
    try:
        os.link(place / "a", place / "b")
    except FileExistsError:
        return
    raise No("a link to a name that is taken went through")


def _renames_over(place: Path) -> None:
    (place / "new").write_bytes(b"new")
    (place / "old").write_bytes(b"old")
    with (place / "old").open("rb") as reader:  # a reader must not be in the way
        os.replace(place / "new", place / "old")
        if reader.read() != b"old" or (place / "old").read_bytes() != b"new":
            raise No("after a rename the old bytes were read")


def _renames_folders(place: Path) -> None:
    for name in ("first", "second"):
        (place / name).mkdir()
        (place / name / "file").write_bytes(b"x")
    os.rename(place / "first", place / "taken")
    with contextlib.suppress(OSError):
        os.rename(place / "second", place / "taken")
        raise No("a folder took the place of another that was not empty")


def _exchanges(place: Path) -> None:
    (place / "a").mkdir()
    (place / "b").mkdir()
    if not exchange(place / "a", place / "b"):
        raise No("the system cannot swap two names")


def _syncs_folders(place: Path) -> None:
    try:
        sync_file(place)
    except OSError as error:
        if error.errno in NOT_FOR_FOLDERS:
            raise No(error.strerror) from error
        raise


def _locks(place: Path) -> None:
    (place / "file").touch()
    with (place / "file").open("rb") as first, (place / "file").open("rb") as second:
        fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
    raise No("two had one lock at a time")


def _tells_case(place: Path) -> None:
    (place / "name").touch()
    if (place / "NAME").exists():
        raise No("'name' and 'NAME' are one file")


def _keeps_names(place: Path) -> None:
    for name in (LONG_NAME, WORDS_OF_NAMES):
        (place / name).touch()
    if set(os.listdir(place)) != {LONG_NAME, WORDS_OF_NAMES}:
        raise No("a name came back in another spelling")


def _time_ns(path: Path) -> int:
    """What a file's time is a multiple of, as stored."""
    path.touch()
    os.utime(path, ns=(ODD_TIME, ODD_TIME))
    stored = path.stat().st_mtime_ns
    steps = (1, 100, 1000, 10**6, 10**9, 2 * 10**9)
    return next((step for step in steps if ODD_TIME // step * step <= stored), 0)


QUESTIONS: Mapping[str, Callable[[Path], None]] = {
    "hard links": _links,
    "rename over": _renames_over,
    "rename of folders": _renames_folders,
    "swap of folders": _exchanges,
    "sync of folders": _syncs_folders,
    "locks": _locks,
    "case": _tells_case,
    "names": _keeps_names,
}
"""What is asked -> how; each returns for yes, and raises `No` or `OSError`."""
