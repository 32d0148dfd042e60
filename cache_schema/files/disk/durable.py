"""Waiting until bytes and names are on the disk, so that a power failure takes neither.

A file's bytes are safe when the file is synced, its name when the folder that holds it is, and that
folder's own name when the folder above it is. What is to survive is therefore synced from its bytes upwards.
"""

import errno
import fcntl
import os
from pathlib import Path

FULL_SYNC = getattr(fcntl, "F_FULLFSYNC", None)
"""macOS: its fsync leaves the bytes in the drive's own memory."""
NOT_FOR_FOLDERS = (errno.EINVAL, errno.EBADF, errno.EACCES, errno.EPERM)
"""What file systems say that cannot sync a folder (CIFS, some of FUSE), and folders that are not ours."""


def sync(file: int) -> None:
    """Wait until an opened file, or the names in an opened folder, are on the disk."""
    if FULL_SYNC is None:
        os.fsync(file)
    else:
        fcntl.fcntl(file, FULL_SYNC)


def sync_file(path: str | Path) -> None:
    """Wait until a file's bytes are on the disk."""
    file = os.open(path, os.O_RDONLY)
    try:
        sync(file)
    finally:
        os.close(file)


def sync_folder(path: str | Path) -> None:
    """Wait until the names in a folder are on the disk, as far as its file system can say so."""
    try:
        sync_file(path)
    except OSError as error:
        if error.errno not in NOT_FOR_FOLDERS:
            raise


def sync_tree(path: str | Path) -> None:
    """Wait until a file, or a folder with all that is in it, is on the disk; its own name is not yet."""
    if os.path.isfile(path):
        sync_file(path)
    for folder, _, names in os.walk(path, topdown=False):
        for name in names:
            sync_file(os.path.join(folder, name))
        sync_folder(folder)


def sync_above(path: str | Path, known: set[str] | None = None) -> None:
    """Wait until the name of a file or folder is on the disk, and those of all folders above it.

    Ends where the file system does.

    Args:
        path: The file or folder.
        known: Folders whose names are safe; they end the climb, and what is climbed is added.
    """
    known, here = set() if known is None else known, os.path.abspath(path)
    while here not in known:
        above = os.path.dirname(here)
        if above == here or os.stat(above).st_dev != os.stat(here).st_dev:
            return
        sync_folder(above)
        known.add(here)
        here = above
