"""Files and folders that appear whole under their name, or not at all: every such write is here."""

import contextlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cache_schema.common.errors import StoreError
from cache_schema.common.machine import refuse_machine
from cache_schema.files.disk.durable import sync_above, sync_file, sync_tree
from cache_schema.files.disk.unfinished import new_folder, owner_token, sweep


@contextmanager
def appears_whole(location: str | Path, require: Callable[[Path], None] | None = None) -> Iterator[Path]:
    """Give a path in a hidden sibling folder to write to, and rename it when the block ends well.

    What has returned survives a power failure. A killed process leaves the sibling behind; the next write
    to that name sweeps it.

    Args:
        location: The name.
        require: Raises where what is there must stay, before and after the block; by default whatever it
            is. A file that may go is there until the new one takes its name.

    Raises:
        StoreError: If something is at the location that must stay, or the place cannot be written.
        MachineError: If the machine cannot: disk full, no permission.
    """
    target = Path(location).expanduser().absolute()
    prefix = f".{target.name}.writing"
    require = require or require_free
    require(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        for sibling in list(target.parent.glob(f"{prefix}*")):
            sweep(sibling)
        with new_folder(str(target.parent / prefix)) as folder:
            yield folder / target.name
            sync_tree(folder / target.name)
            require(target)
            os.rename(folder / target.name, target)
        sync_above(target)
    except Exception as error:
        refuse_machine(error, "write", target)
        if isinstance(error, OSError):
            raise StoreError(f"cannot write {str(target)!r}: {error.strerror or error}") from error
        raise


@contextmanager
def replacing(path: str | Path, ending: str = "") -> Iterator[Path]:
    """Give a path to write a file to, which takes the place of another one when the block ends well.

    After a power failure the old file is there or the new one, and no half of it.

    Args:
        path: The file, which may be there; its folder is made when it is missing.
        ending: Of the hidden name, for writers that go by it (`.nii.gz`).

    Raises:
        MachineError: If the machine cannot: disk full, no permission.
    """
    target = Path(path)
    beside = target.parent / f".{target.name}.writing{owner_token()}{ending}"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield beside
        sync_file(beside)
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
