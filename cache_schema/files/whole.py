"""Files and folders that appear whole under their name, or not at all: every such write is here."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cache_schema.common.errors import StoreError
from cache_schema.common.machine import refuse_machine
from cache_schema.files.unfinished import is_leftover, owner_token


@contextmanager
def appears_whole(location: str | Path) -> Iterator[Path]:
    """Give a hidden sibling path to write to, and rename it when the block ends well.

    A killed process leaves the sibling behind; the next write to that name sweeps it.

    Raises:
        StoreError: If something is at the location already, or the place cannot be written.
        MachineError: If the machine cannot: disk full, no permission.
    """
    target = Path(location).expanduser().absolute()
    prefix = f".{target.name}.writing"
    temporary = target.parent / f"{prefix}{owner_token()}"
    require_free(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        for sibling in list(target.parent.glob(f"{prefix}*")):
            if is_leftover(str(sibling)):
                _remove(sibling)
        yield temporary
        if temporary.is_file():
            _flush(temporary)
        require_free(target)
        os.rename(temporary, target)
    except Exception as error:
        refuse_machine(error, "write", target)
        if isinstance(error, OSError):
            raise StoreError(f"cannot write {str(target)!r}: {error.strerror or error}") from error
        raise
    finally:
        _remove(temporary)


@contextmanager
def replacing(path: str | Path, temporary: str | Path | None = None, ending: str = "") -> Iterator[Path]:
    """Give a path to write a file to, which takes the place of another one when the block ends well.

    Args:
        path: The file, which may be there; its folder is made when it is missing.
        temporary: Where to write, on the same file system; by default a hidden name beside it.
        ending: Of the hidden name, for writers that go by it (`.nii.gz`).

    Raises:
        MachineError: If the machine cannot: disk full, no permission.
    """
    target = Path(path)
    beside = Path(temporary or target.parent / f".{target.name}.writing{owner_token()}{ending}")
    try:
        if temporary is None:
            target.parent.mkdir(parents=True, exist_ok=True)
        yield beside
        try:
            os.replace(beside, target)
        except FileNotFoundError:
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(beside, target)
    except Exception as error:
        refuse_machine(error, "write", target)
        raise
    finally:
        with contextlib.suppress(OSError):  # read-only since: nothing can be tidied, and why is said above
            beside.unlink()


def write_whole(path: str | Path, data: bytes) -> None:
    """Write a file, or replace it, so that nobody ever sees half of it."""
    with replacing(path) as beside:
        beside.write_bytes(data)


def require_free(target: Path) -> None:
    """Refuse a name that is taken.

    Raises:
        StoreError: If it is.
    """
    if target.exists() or target.is_symlink():
        raise StoreError(f"{str(target)!r} is there already; delete it, or choose another name")


def _flush(path: Path) -> None:
    """Wait until a file is on the disk, so that a power failure cannot leave its name without it."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def _remove(path: Path) -> None:
    """Delete a file or a folder; absent is fine."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
