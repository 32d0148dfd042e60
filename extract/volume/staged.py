"""A volume's files copied to the node's own disk just before they are read, where somebody asks for that.

A network disk gives a whole file quickly and many small pieces slowly, and a volume is read twice: decoded,
and digested. SLICECACHE_STAGE names a folder for the copies. Each decoding process holds the files of the
volume that it reads and no more, so that as many are copied ahead as are decoded ahead; they go when it is
read.

What is recorded stays the original's: its path, its facts, which must be the same before the copy and after
the reading, and the digest of the bytes that were decoded, which are the copy's.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from cache_schema.common.errors import VolumeError
from extract.sources.candidate import Candidate

VARIABLE = "SLICECACHE_STAGE"
SPARE_BYTES = 1 << 30
"""Left free on the node's disk, which is others' too."""


@contextmanager
def staged(candidate: Candidate, paths: Mapping[str, Path]) -> Iterator[tuple[Candidate, Mapping[str, Path]]]:
    """A candidate whose files lie near, by role; the given one where that is not asked or not possible.

    A copy that does not fit, or fails, is none: then the file is read where it lies, which says what is wrong
    with it. A dataset inside an HDF5 file is read there, too: the file holds other volumes.

    Args:
        candidate: What is about to be read.
        paths: Its files by role, as they were looked at.

    Raises:
        VolumeError: As the block does, with the original's folder for the copy's.
    """
    folder = os.environ.get(VARIABLE)
    if not folder or candidate.dataset or "image" not in paths:
        yield candidate, paths
        return
    with ExitStack() as ending:
        copies = _copied(Path(folder), paths, ending)
        if copies is None:
            yield candidate, paths
            return
        mask = None if candidate.foreground_path is None else copies.get("mask", candidate.foreground_path)
        try:
            yield replace(candidate, path=copies["image"], foreground_path=mask), copies
        except VolumeError as error:
            near, far = str(copies["image"].parent), str(candidate.path.parent)
            raise VolumeError(str(error).replace(near, far)) from error


def _copied(folder: Path, paths: Mapping[str, Path], ending: ExitStack) -> dict[str, Path] | None:
    """Copies by role, under their own names, those of a mask apart; None where they cannot be made."""
    try:
        if not all(path.is_file() for path in paths.values()):
            return None
        needed = sum(path.stat().st_size for path in paths.values())
        if shutil.disk_usage(folder).free < needed + SPARE_BYTES:
            return None
        own = Path(ending.enter_context(tempfile.TemporaryDirectory(prefix="volume-", dir=folder)))
        copies = {}
        for role, path in paths.items():
            apart = own / role.partition("_")[0] if role.startswith("mask") else own
            apart.mkdir(exist_ok=True)
            copies[role] = Path(shutil.copyfile(path, apart / path.name))
    except OSError:
        return None
    return copies
