"""A machine that fails on demand, in this process and without a special file system.

`Disk` counts the calls that change files below a folder (opening for writing, making folders, renaming,
linking) and makes one of them, or all from one on, fail. What is opened for writing when the disk is full is
`/dev/full`, so that the error comes from the kernel and as late as it would: at the flush or at the close.
"""

import builtins
import ctypes
import errno
import io
import multiprocessing
import os
import resource
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

CALLS = ("replace", "rename", "link", "mkdir")
DAC = 0b110
"""CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH: what lets root read and write everywhere."""


class Full(io.FileIO):
    """A file with a name and no room: it is made, and every write fails."""

    def write(self, data: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def full_file(
    path: Any,
    mode: str,
    buffering: int = -1,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
) -> Any:
    """As `open` does, on a disk that is full: buffered writes fail when they are flushed."""
    raw = Full(path, mode.replace("b", "").replace("t", ""))
    if buffering == 0:
        return raw
    buffered = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
    return buffered if "b" in mode else io.TextIOWrapper(buffered, encoding or "utf-8", errors, newline)


class Disk:
    """Fails at the n-th change below a folder, counted from 0, and at every later one."""

    def __init__(
        self, below: Path, first: int | None, number: int = errno.ENOSPC, once: bool = False
    ) -> None:
        self.below, self.first, self.number, self.once = str(below), first, number, once
        self.calls: list[str] = []

    def fails(self, what: str, path: Any) -> bool:
        """Count a change, and say whether it is to fail."""
        if threading.current_thread().name == "slicecache-heart":
            return False  # it comes at any time, and its faults are nobody's (see attacks.heartbeats)
        if isinstance(path, int) or not os.path.abspath(os.fsdecode(path)).startswith(self.below):
            return False
        self.calls.append(f"{what} {os.path.basename(os.fsdecode(path))}")
        at = len(self.calls) - 1
        return self.first is not None and (at == self.first if self.once else at >= self.first)

    def opened(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def opening(file: Any, mode: str = "r", *rest: Any, **named: Any) -> Any:
            if not set(mode) & set("wxa+") or not self.fails(f"open {mode}", file):
                return real(file, mode, *rest, **named)
            if self.number != errno.ENOSPC or not os.path.isdir(os.path.dirname(file) or "."):
                raise OSError(self.number, os.strerror(self.number), os.fsdecode(file))
            return full_file(file, mode, *rest, **named)

        return opening

    def called(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def calling(path: Any, *rest: Any, **named: Any) -> Any:
            if name == "mkdir" and os.path.isdir(path):
                return real(path, *rest, **named)  # which says that it is there, full disk or not
            if self.fails(name, path):
                raise OSError(self.number, os.strerror(self.number), os.fsdecode(path))
            return real(path, *rest, **named)

        return calling

    @contextmanager
    def failing(self) -> Iterator["Disk"]:
        with pytest.MonkeyPatch.context() as patch:
            real = builtins.open
            patch.setattr(builtins, "open", self.opened(real))
            patch.setattr(io, "open", self.opened(real))
            for name in CALLS:
                patch.setattr(os, name, self.called(name, getattr(os, name)))
            yield self


@contextmanager
def as_anybody() -> Iterator[None]:
    """Without root's right to read and write everywhere, if this is root."""
    if os.geteuid() != 0:
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    head = (ctypes.c_uint32 * 2)(0x20080522, 0)
    before = (ctypes.c_uint32 * 6)()
    assert libc.capget(head, before) == 0
    less = (ctypes.c_uint32 * 6)(*before)
    less[0] &= ~DAC
    assert libc.capset(head, less) == 0
    try:
        yield
    finally:
        assert libc.capset(head, before) == 0


@contextmanager
def locked(path: Path, mode: int = 0o500) -> Iterator[None]:
    """A file or folder that may not be written to (0o500), or not even looked into (0)."""
    before = path.stat().st_mode & 0o777
    path.chmod(mode)
    try:
        with as_anybody():
            yield
    finally:
        with suppress(FileNotFoundError):
            path.chmod(before)


@contextmanager
def limited(kind: int, value: int) -> Iterator[None]:
    """A limit of this process, such as the size that a file may have."""
    before = resource.getrlimit(kind)
    resource.setrlimit(kind, (value, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(kind, before)


@contextmanager
def few_files(spare: int) -> Iterator[None]:
    """So many more files may be opened, and no more."""
    listed = [f"/dev/fd/{name}" for name in os.listdir("/dev/fd")]
    taken = {
        int(os.path.basename(path)) for path in listed if os.path.lexists(path)
    }  # not the listing itself
    free = [number for number in range(max(taken) + spare + 2) if number not in taken]
    with limited(resource.RLIMIT_NOFILE, free[spare]):
        yield


@contextmanager
def first_child_killed() -> Iterator[None]:
    """The first process that this one starts is killed, as the kernel does when memory runs out."""
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.01):
            for child in multiprocessing.active_children():
                if child.pid is not None:
                    os.kill(child.pid, signal.SIGKILL)
                    return

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


@contextmanager
def crowded(free_bytes: int, free_files: int) -> Iterator[None]:
    """Every disk says that it has so much left."""
    said = SimpleNamespace(f_bavail=free_bytes, f_frsize=1, f_files=10**6, f_favail=free_files)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "statvfs", lambda path: said)
        yield


@contextmanager
def broken(name: str, error: BaseException) -> Iterator[None]:
    """`package.module.function`, which only raises."""

    def raising(*given: object, **named: object) -> None:
        raise error

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(name, raising)
        yield
