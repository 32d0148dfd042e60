"""Unfinished files and folders: whose they are, and which may be swept.

Whoever makes one keeps it opened and locked (`flock`) until it is finished, and the kernel lets the lock
go when the process does. No clock and no process number is trusted where that lock can be seen. Where it
may not be seen (a file system that other machines mount, too), only names of this machine since its last
start are judged; the others stay until somebody deletes them.
"""

import fcntl
import os
import secrets
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, NamedTuple

from cache_schema.common.errors import MachineError
from cache_schema.files.disk.mounts import mount_of

ATTEMPTS = 100
"""To make something new: a sweeper may be faster once or twice, and never so often."""


class Owner(NamedTuple):
    """Who made an unfinished thing, as its name says."""

    host: str
    process: int
    boot: str


@lru_cache(maxsize=1)
def boot() -> str:
    """What tells this start of this machine from all others, 12 characters; empty where nothing does."""
    try:
        if sys.platform == "darwin":
            command = ["/usr/sbin/sysctl", "-n", "kern.bootsessionuuid"]
            text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        else:
            text = Path("/proc/sys/kernel/random/boot_id").read_text()
    except (OSError, subprocess.SubprocessError):
        return ""
    return text.strip().replace("-", "").lower()[:12]


def owner_token() -> str:
    """A fresh ending that tells whose a name is: `~<host>~<process>~<start of the machine>.<random>`."""
    return f"~{socket.gethostname()}~{os.getpid()}~{boot()}.{secrets.token_hex(6)}"


def owner_of(path: str | Path) -> Owner | None:
    """Who made an unfinished thing; None when its name does not say it."""
    host, process, last = ["", "", "", *os.path.basename(path).split("~")][-3:]
    start, dot, _ = last.partition(".")
    return Owner(host, int(process), start) if dot and process.isdecimal() else None


def new_file(stem: str) -> BinaryIO:
    """Open a new file, `<stem>~...`, which nobody sweeps until it is closed; its folder is made."""
    for _ in range(ATTEMPTS):
        path = stem + owner_token()
        try:
            file = open(path, "xb")  # noqa: SIM115
        except FileNotFoundError:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            continue
        if _hold(file.fileno(), path):
            return file
        file.close()
    raise _vanishing(stem)


@contextmanager
def new_folder(stem: str) -> Iterator[Path]:
    """Make a folder, `<stem>~...`, that nobody sweeps in this block; what then has its name is deleted."""
    for _ in range(ATTEMPTS):
        path = Path(stem + owner_token())
        path.mkdir()
        try:
            file = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:  # a sweeper was faster
            continue
        if _hold(file, path):
            break
        os.close(file)
    else:
        raise _vanishing(stem)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(file)


@contextmanager
def held(folder: str | Path) -> Iterator[None]:
    """Let nobody sweep a folder in this block, whatever it is called."""
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _hold(file, folder)
        yield
    finally:
        os.close(file)


def _vanishing(stem: str) -> MachineError:
    """Somebody takes away whatever is made."""
    return MachineError(
        f"cannot write {stem!r}: {ATTEMPTS} times a new file or folder was gone at once; does something tidy "
        "up there?"
    )


def _hold(file: int, path: str | Path) -> bool:
    """Lock a new thing as long as it is opened; False when a sweeper was faster."""
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True  # no locks here: then nobody else gets one, and nobody sweeps
    return _is_still(file, path)


def _is_still(file: int, path: str | Path) -> bool:
    """Whether a path still leads to an opened file."""
    try:
        return os.path.samestat(os.fstat(file), os.stat(path, follow_symlinks=False))
    except FileNotFoundError:
        return False


def is_held(path: str | Path) -> bool:
    """Whether a process of this machine works on a file or folder right now."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False  # no locks here, so nobody holds one
    finally:
        os.close(file)
    return False


def sweep(path: str | Path) -> bool:
    """Delete an unfinished file or folder if its process is gone for certain; whether it was deleted."""
    owner = owner_of(path)
    if owner is None:
        return False
    kind = os.O_RDONLY if os.path.isdir(path) else os.O_RDWR
    try:
        file = os.open(path, kind | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not _is_still(file, path) or not (is_local(path) or _is_gone_from_here(owner)):
            return False
        shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)
    except OSError:
        return False
    finally:
        os.close(file)
    return True


def _is_gone_from_here(owner: Owner) -> bool:
    """Whether a process ran on this machine since its last start, and is gone."""
    if not owner.boot or owner.boot != boot():
        return False
    try:
        os.kill(owner.process, 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        return False
    return False


def is_local(path: str | Path) -> bool:
    """Whether a file lies on a file system that no other machine can write to at the same time."""
    return mount_of(path).local


def unfinished_in(store: Path) -> Iterator[Path]:
    """Unfinished files and folders in a store and beside it, of whomever."""
    for folder, _, names in os.walk(store):
        for name in names:
            if name.startswith(".") or Path(folder) == store / "tmp":
                yield Path(folder) / name
    whole = store.absolute()
    yield from sorted(whole.parent.glob(f".{whole.name}.*~*~*~*"))
