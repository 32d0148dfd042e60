"""Image files below a participant's folder, whatever links lie in it.

Links are followed, because git-annex and people who gather data use them; but no folder is entered twice,
so that a link back to a folder that holds it ends in a sentence and not in an endless walk.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cache_schema.common.errors import MachineError

IMAGES = (".nii.gz", ".nii", ".mgz", ".mgh", ".img")


@dataclass(slots=True)
class Walk:
    """Walks the participants of one root, and remembers which links it did not follow."""

    root: Path
    loops: list[Path] = field(default_factory=list)
    """Links that lead back to a folder that holds them."""

    def images(self, participant: Path) -> Iterator[Path]:
        """Image files of one participant, dangling links included.

        Raises:
            MachineError: If a folder cannot be read.
        """
        waiting = [(participant, os.path.realpath(participant))]
        entered = {waiting[0][1]}
        while waiting:
            folder, real = waiting.pop()
            for entry in _entries(folder):
                if not _is_folder(entry):
                    if entry.name.lower().endswith(IMAGES):
                        yield folder / entry.name
                    continue
                place = f"{real}/{entry.name}"
                if entry.is_symlink():
                    place = os.path.realpath(entry.path)
                    if _holds(place, real) or _holds(place, os.path.realpath(self.root)):
                        self.loops.append(folder / entry.name)
                        continue
                    if place in entered:
                        continue
                    entered.add(place)
                waiting.append((folder / entry.name, place))


def _entries(folder: Path) -> list["os.DirEntry[str]"]:
    """What lies in a folder, in a fixed order."""
    try:
        with os.scandir(folder) as found:
            return sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        raise MachineError(f"cannot read the folder {str(folder)!r}: {error.strerror}") from error


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    """A link to itself is none: it becomes a volume that cannot be read."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def _holds(place: str, inner: str) -> bool:
    """Whether a folder is another one or lies above it."""
    return f"{inner}/".startswith(place.rstrip("/") + "/")
