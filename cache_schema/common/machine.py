"""Telling what the machine failed at from what somebody asked for wrongly: by the error's number.

A `PermissionError` of Python, HDF5's text with `errno = 28` in it and that of a Rust library with
`os error 28` are one thing here: a `MachineError` that names the path, and exit code 3.
"""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cache_schema.common.errors import MachineError

REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file grew beyond what the system allows",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "no permission",
    errno.EPERM: "no permission",
    errno.EMFILE: "too many files are open: raise the limit (ulimit -n)",
    errno.ENFILE: "too many files are open on this machine",
    errno.ENOMEM: "the machine has no memory left",
    errno.EIO: "the disk or the network reported an input/output error",
    errno.ESTALE: "the network folder went away (stale handle)",
    errno.ETIMEDOUT: "the disk or the network did not answer in time",
    errno.ENODEV: "the device is gone",
    errno.ENXIO: "the device is gone",
    errno.ENOTCONN: "the network folder is not connected",
    errno.EHOSTDOWN: "the host is down",
    errno.EHOSTUNREACH: "the host cannot be reached",
    errno.ECONNREFUSED: "nobody listens there",
    errno.ECONNRESET: "the connection was cut",
}
"""Numbers of the machine, in words; every other one (no such file, a folder for a file) is a mistake."""
EVERYWHERE = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE}
)
"""Of these the ones that would meet every volume, and so must not pass for something wrong with one."""

NUMBER = re.compile(r"(?:errno = |\(os error |Os \{ code: )(\d+)")
"""How HDF5 and Rust's libraries say the number in their text."""
OUT_OF_MEMORY = ("can't allocate memory", "out of memory", "Unable to allocate")


def number_of(error: BaseException) -> int | None:
    """The system's number of an error, from its field or its text; None when it has none."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    found = NUMBER.search(str(error)) if isinstance(error, Exception) else None
    return None if found is None else int(found[1])


def is_machine(error: BaseException | None) -> bool:
    """Whether the machine failed, and not who asked."""
    return error is not None and (number_of(error) in REASONS or out_of_memory(error))


def out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: Python's, numpy's or torch's way of saying so."""
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in OUT_OF_MEMORY)


def refuse_everywhere(error: BaseException, path: str | Path) -> None:
    """Stop at what would meet every volume alike: it must not become a row of `failures.tsv` for each.

    Raises:
        MachineError: If the error, or what it was raised from, is of that kind.
    """
    for cause in causes(error):
        if number_of(cause) in EVERYWHERE:
            refuse_machine(cause, "read", path)


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what it was raised from, the outermost first."""
    while error is not None:
        yield error
        error = error.__cause__


def machine_words(error: BaseException) -> str:
    """Why the machine failed, with the system's own words behind ours."""
    if out_of_memory(error):
        return "the machine has too little memory"
    number = number_of(error) or 0
    return f"{REASONS[number]} ({os.strerror(number)})"


def refuse_machine(error: BaseException, doing: str, path: str | Path) -> None:
    """Say what could not be done with a path where the machine is to blame; else return.

    Args:
        error: What was caught.
        doing: `read`, `write`, `create`.
        path: Where.

    Raises:
        MachineError: `cannot write 'runs/demo': the disk is full (No space left on device)`.
    """
    if is_machine(error):
        raise MachineError(f"cannot {doing} {str(path)!r}: {machine_words(error)}") from error


@contextmanager
def machine_said(doing: str, path: str | Path) -> Iterator[None]:
    """Say what a block could not do with a path where the machine is to blame.

    Raises:
        MachineError: As `refuse_machine` does; every other error passes.
    """
    try:
        yield
    except Exception as error:
        refuse_machine(error, doing, path)
        raise
