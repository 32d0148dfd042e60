"""Compiled graphs on disk, so that the next run need not trace and compile again.

They lie in the user's own cache folder and are read from nowhere else: what a store or a bundle holds is
never compiled, imported or run. A file is written whole, and begins with the SHA-256 of what follows; what
does not match is compiled anew.
"""

import contextlib
import hashlib
import os
from pathlib import Path

from cache_schema.common.errors import SlicecacheError
from cache_schema.files.disk.unfinished import sweep
from cache_schema.files.disk.whole import replacing

MOST = 8
"""Graphs that are kept: the ones used last."""
ENDING = ".graph"


def cache_folder(what: str = "graphs") -> Path | None:
    """`$XDG_CACHE_HOME/slicecache/graphs`, or below `~/.cache`; None for who has no home."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    # Relative ones are to be ignored, says the XDG base directory specification.
    base = given if os.path.isabs(given) else os.path.expanduser("~/.cache")
    return Path(base) / "slicecache" / what if os.path.isabs(base) else None


def read_kept(key: str) -> bytes | None:
    """The graph of a key; None where there is none that is whole."""
    folder = cache_folder()
    if folder is None:
        return None
    path = folder / (key + ENDING)
    try:
        with path.open("rb") as file:
            digest, graph = file.read(64), file.read()
        os.utime(path)
    except OSError:
        return None
    return graph if hashlib.sha256(graph).hexdigest().encode() == digest else None


def keep(key: str, graph: bytes) -> None:
    """Keep a graph; where that cannot be done, the next run compiles again, and no more than that."""
    folder = cache_folder()
    if folder is None:
        return
    with contextlib.suppress(OSError, SlicecacheError):
        write_kept(folder / (key + ENDING), hashlib.sha256(graph).hexdigest().encode() + graph, MOST)


def write_kept(path: Path, data: bytes, most: int) -> None:
    """Write a file of the cache whole, and delete those of its kind that were used longest ago.

    Raises:
        OSError: If it cannot be written, or one cannot be deleted.
        SlicecacheError: If the machine cannot.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    for unfinished in path.parent.glob(f".*{path.suffix}.writing*"):
        sweep(unfinished)
    with replacing(path) as beside:
        beside.write_bytes(data)
    for old in _oldest_first(path.parent, path.suffix)[:-most]:
        old.unlink(missing_ok=True)


def _oldest_first(folder: Path, ending: str) -> list[Path]:
    """By when they were used last."""
    times: dict[Path, int] = {}
    for path in folder.glob(f"*{ending}"):
        with contextlib.suppress(OSError):  # somebody else has just deleted it
            times[path] = path.stat().st_mtime_ns
    return sorted(times, key=lambda path: times[path])
