"""Putting a rebuilt store in the place of the old one, so that a kill at any moment loses neither."""

import ctypes
import errno
import os
import sys
from pathlib import Path

from cache_schema.common.errors import StoreError
from cache_schema.files.disk.unfinished import is_held, owner_token, sweep

AT_FDCWD = -100
RENAME_EXCHANGE = 2


def sibling(target: Path, what: str) -> Path:
    """A fresh hidden name beside a store."""
    return target.parent / f".{target.name}.{what}{owner_token()}"


def exchange(a: Path, b: Path) -> bool:
    """Swap two folders in one atomic step; False where the system cannot (macOS, NFS and others)."""
    if not sys.platform.startswith("linux"):
        return False
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    if rename(AT_FDCWD, os.fsencode(a), AT_FDCWD, os.fsencode(b), RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM):
        return False
    raise StoreError(f"cannot swap {str(a)!r} and {str(b)!r}: {os.strerror(code)}")


def replace_folder(new: Path, target: Path) -> Path:
    """Put `new` in the place of `target`; the path at which the old one lies now.

    Where the system has no atomic exchange, the name is free for a moment; a kill in it leaves the old
    store under a hidden name, which `recover` puts back.
    """
    if exchange(new, target):
        return new
    old = sibling(target, "replaced")
    os.rename(target, old)
    os.rename(new, target)
    return old


def interrupted(target: Path) -> Path | None:
    """The old store that an interrupted replacement left under a hidden name, when there is none now."""
    if target.exists():
        return None
    return next(iter(sorted(target.parent.glob(f".{target.name}.replaced~*"))), None)


def recover(target: Path) -> None:
    """Put back what an interrupted replacement left, and delete rebuilt stores of processes that are gone."""
    old = interrupted(target)
    if old is not None and not is_held(old):
        os.rename(old, target)
    for what in ("rebuilding", "replaced"):
        for entry in list(target.parent.glob(f".{target.name}.{what}~*")):
            sweep(entry)
