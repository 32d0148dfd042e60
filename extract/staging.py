"""Copies of files on the node's own disk, where somebody asks for that by SLICECACHE_STAGE.

A network disk gives a whole file quickly and many small pieces slowly.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

VARIABLE = "SLICECACHE_STAGE"
SPARE_BYTES = 1 << 30
"""Left free on the node's disk, which is others' too."""


@contextmanager
def copied(paths: Mapping[str, Path]) -> Iterator[dict[str, Path] | None]:
    """Copies of some files, under their own names in one folder, until the block ends.

    Args:
        paths: By a word of the caller's; what comes before a `/` in it is a folder of the copies.

    Returns:
        None where nobody asks for copies, or they cannot be made: whoever reads the files themselves then
        finds out what is wrong with them.
    """
    with ExitStack() as ending:
        yield _copied(os.environ.get(VARIABLE, ""), paths, ending)


def _copied(folder: str, paths: Mapping[str, Path], ending: ExitStack) -> dict[str, Path] | None:
    if not folder:
        return None
    try:
        if not all(path.is_file() for path in paths.values()):
            return None
        needed = sum(path.stat().st_size for path in paths.values())
        if shutil.disk_usage(folder).free < needed + SPARE_BYTES:
            return None
        own = Path(ending.enter_context(tempfile.TemporaryDirectory(prefix="copies-", dir=folder)))
        copies = {}
        for word, path in paths.items():
            part = own / word.rpartition("/")[0]
            part.mkdir(exist_ok=True)
            copies[word] = Path(shutil.copyfile(path, part / path.name))
    except OSError:
        return None
    return copies
