"""A volume's files copied to the node's own disk just before they are read, where somebody asks for that.

A volume is read twice: decoded, and digested. Each decoding process holds the files of the volume that it
reads and no more, so that as many are copied ahead as are decoded ahead; they go when it is read.

What is recorded stays the original's: its path, its facts, which must be the same before the copy and after
the reading, and the digest of the bytes that were decoded, which are the copy's.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from cache_schema.common.errors import VolumeError
from extract.sources.candidate import Candidate
from extract.staging import copied


@contextmanager
def staged(candidate: Candidate, paths: Mapping[str, Path]) -> Iterator[tuple[Candidate, Mapping[str, Path]]]:
    """A candidate whose files lie near, by role; the given one where that is not asked or not possible.

    A dataset inside an HDF5 file is read where it lies, since the file holds other volumes.

    Args:
        candidate: What is about to be read.
        paths: Its files by role, as they were looked at.

    Raises:
        VolumeError: As the block does, with the original's folder for the copy's.
    """
    if candidate.dataset or "image" not in paths:
        yield candidate, paths
        return
    # A mask may have its image's name, in another folder.
    words = {("mask/" if role.startswith("mask") else "") + role: path for role, path in paths.items()}
    with copied(words) as copies:
        if copies is None:
            yield candidate, paths
            return
        mask = copies.get("mask/mask", candidate.foreground_path)
        here = replace(candidate, path=copies["image"], foreground_path=mask)
        try:
            yield here, {word.rpartition("/")[2]: path for word, path in copies.items()}
        except VolumeError as error:
            near, far = str(copies["image"].parent), str(candidate.path.parent)
            raise VolumeError(str(error).replace(near, far)) from error
