"""Asked before the long part: is there room, and may we write? A night's work must not end on either."""

import os
from pathlib import Path

from cache_schema.common.errors import MachineError
from cache_schema.common.machine import refuse_machine
from cache_schema.files.disk.unfinished import owner_token

PROBE_BYTES = 65_536
"""Enough that a full disk says so."""


def require_writable(folder: str | Path, what: str, there: bool = False) -> None:
    """Write a small file into a folder, or where it would be made, and take it out again.

    Nothing else is left behind: whoever is refused later, for a mistake, finds no empty folder.

    Args:
        folder: Need not be there yet.
        what: What it is to the reader: `the run folder`.
        there: Whether a missing folder is refused.

    Raises:
        MachineError: If it is a file, is missing and must be there, or cannot be written to.
    """
    place = Path(folder).expanduser().absolute()
    above = existing(place)
    if not above.is_dir():
        raise MachineError(
            f"{what} {str(folder)!r} cannot be written to: {str(above)!r} is a file, where a folder is needed"
        )
    if above != place and there:
        raise MachineError(
            f"{what} {str(folder)!r} cannot be written to: there is no folder {str(place)!r}; make it first, "
            "or correct the path"
        )
    probe = above / f".probe{owner_token()}"
    try:
        try:
            probe.write_bytes(bytes(PROBE_BYTES))
        finally:
            probe.unlink(missing_ok=True)
    except OSError as error:
        refuse_machine(error, f"write to {what}", folder)
        raise


def require_target(path: str | Path, what: str) -> None:
    """A file that will be written at the end: its folder is there and takes it.

    Raises:
        MachineError: If it is a folder, or its folder is missing or cannot be written to.
    """
    target = Path(path).expanduser().absolute()
    if target.is_dir():
        raise MachineError(f"{what} {str(path)!r} cannot be written: it is a folder; name a file in it")
    require_writable(target.parent, f"the folder of {what}", there=True)


def require_room(place: str | Path, what: str, n_bytes: int, n_files: int, advice: str = "") -> None:
    """Hold what will be written against what the disk has left.

    Args:
        place: Where it goes; it need not be there yet.
        what: `the store`, `the packed store`.
        n_bytes: At most so many.
        n_files: At most so many files and folders.
        advice: What can be done besides making room.

    Raises:
        MachineError: Saying what is needed and what is there.
    """
    if "://" in str(place):
        return
    above = existing(Path(place).expanduser().absolute())
    disk = os.statvfs(above)
    free = disk.f_bavail * disk.f_frsize
    inodes = disk.f_favail if disk.f_files else n_files  # some file systems do not count them
    if n_bytes <= free and n_files <= inodes:
        return
    lacking = (
        f"{in_units(n_bytes)}, and {in_units(free)} are free"
        if n_bytes > free
        else f"{n_files} files, and {inodes} more can be made"
    )
    raise MachineError(
        f"there is no room for {what} {str(place)!r}: it may take {lacking} at {str(above)!r}; make room or "
        f"choose another place{advice}"
    )


def require_fit(source: str, place: str | Path, what: str) -> None:
    """Before a store is written anew in another form or place: there is room for as much as it has.

    A store behind a URL is not counted: nobody can say its size without reading it.

    Raises:
        MachineError: If the place cannot be written to, or has less room.
    """
    target = Path(place).expanduser().absolute()
    require_writable(target.parent, f"the folder of {what}")
    if "://" in source:
        return
    path = Path(source).expanduser()
    files = path.rglob("*") if path.is_dir() else [path]
    require_room(target, what, sum(file.stat().st_size for file in files if file.is_file()), 1)


def existing(path: Path) -> Path:
    """The path, or the nearest above it that is there."""
    while not os.path.lexists(path) and path != path.parent:
        path = path.parent
    return path


def in_units(n_bytes: float) -> str:
    """`12.3 MB`, in powers of 1000."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if n_bytes < 1000:
            return f"{n_bytes:.3g} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.3g} TB"
