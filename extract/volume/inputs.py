"""Which files shape a volume's numbers, and what they are: read, digested, and the same from first to last.

A digest is of the bytes that were decoded: the files' facts are taken before they are read and compared
after they were digested. A write changes the facts, because a file that was written within the clock's
last tick is first let rest for one.
"""

import hashlib
import os
import stat
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Self

from cache_schema.common.errors import VolumeError
from cache_schema.format.inputs import InputFile, Inputs
from extract.sources.candidate import Candidate

TICK_NS = 20_000_000
"""Longer than any tick by which a kernel stamps files."""

COMPANIONS = {
    ".img": {"header": ".hdr", "mat": ".mat"},
    ".rec": {"header": ".par"},
    ".brik": {"header": ".head"},
    ".hdr": {"voxels": ".img"},
    ".par": {"voxels": ".rec"},
    ".head": {"voxels": ".brik"},
}
"""Ending of a file in several parts -> the others by role; whichever is named is the `image`."""

Facts = tuple[int, int, int, int]
"""Bytes, mtime_ns, ctime_ns, inode."""


def input_paths(candidate: Candidate) -> dict[str, Path]:
    """Every file that a candidate is made from, by role, those beside it only where they are there."""
    paths = companions(candidate.path) if not candidate.dataset else {"image": candidate.path}
    if candidate.foreground_path is not None:
        mask = companions(candidate.foreground_path)
        paths |= {"mask" if role == "image" else f"mask_{role}": path for role, path in mask.items()}
    return paths


def companions(path: Path) -> dict[str, Path]:
    """A file as `image`, with what is read together with it."""
    name, packed = path.name, ""
    if name.lower().endswith((".gz", ".bz2")):
        name, dot, ending = name.rpartition(".")
        packed = dot + ending
    stem, ending = os.path.splitext(name)
    found = {"image": path}
    for role, other in COMPANIONS.get(ending.lower(), {}).items():
        spelt = other.upper() if ending.isupper() else other
        beside = path.with_name(stem + spelt + ("" if role == "mat" else packed))
        if is_there(beside) and (role != "mat" or _reads_mat(found.get("header"))):
            found[role] = beside
    return found


def _reads_mat(header: Path | None) -> bool:
    """Whether a `.mat` beside a pair is part of it: of Analyze (SPM), not of NIfTI."""
    if header is None or not header.is_file():
        return False
    with header.open("rb") as file:
        return file.read(348)[344:347] != b"ni1"


def is_there(path: Path) -> bool:
    """Whether there is something of that name; a link to nothing is nothing.

    Raises:
        VolumeError: If nobody can know: no permission, or no possible name.
    """
    try:
        return path.exists()
    except OSError as error:
        raise VolumeError(f"{path.name[:80]!r} cannot be read: {error.strerror}") from error


def refuse_odd_file(path: Path) -> None:
    """Refuse what is there and is no ordinary file, before anything opens it and waits for ever.

    Raises:
        VolumeError: For a fifo, a socket or a device.
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return  # whoever opens it says so
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        kind = "fifo" if stat.S_ISFIFO(mode) else "socket" if stat.S_ISSOCK(mode) else "device"
        raise VolumeError(f"{path.name!r} is a {kind}, not a file")


def facts_of(path: Path) -> Facts:
    """What tells a file from another one without reading it.

    Raises:
        OSError: If it is gone.
    """
    found = path.stat()
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


@lru_cache(maxsize=64)
def digest_of(path: Path, facts: Facts) -> str:
    """SHA-256 of a file with these facts; an HDF5 file of many volumes is read once.

    Raises:
        OSError: If it is gone or cannot be read.
    """
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def input_file(facts: Facts, sha256: str) -> InputFile:
    """As it is recorded."""
    size, mtime_ns, ctime_ns, inode = facts
    return InputFile(bytes=size, mtime_ns=mtime_ns, ctime_ns=ctime_ns, inode=inode, sha256=sha256)


def inputs_of(candidate: Candidate, files: dict[str, InputFile]) -> Inputs:
    """A candidate's files with what was stated of it."""
    return Inputs.of(files, candidate.orientation, candidate.spacing_mm, candidate.dataset or None)


@dataclass(frozen=True, slots=True)
class Watch:
    """A candidate's files from before they are read until they are digested."""

    candidate: Candidate
    paths: dict[str, Path]
    facts: dict[str, Facts]

    @classmethod
    def over(cls, candidate: Candidate) -> Self:
        """Begin, before anything is read; a missing file is found by who reads it."""
        paths = {role: path for role, path in input_paths(candidate).items() if is_there(path)}
        facts = {role: facts_of(path) for role, path in paths.items()}
        newest = max((ctime_ns for _, _, ctime_ns, _ in facts.values()), default=0)
        if 0 <= time.time_ns() - newest < TICK_NS:
            time.sleep(TICK_NS / 1e9)
            facts = {role: facts_of(path) for role, path in paths.items()}
        return cls(candidate, paths, facts)

    def inputs(self, read: Mapping[str, Path]) -> Inputs:
        """Digest the files, now that they were read.

        Args:
            read: By role, what was decoded: the files themselves, or copies of them.

        Raises:
            VolumeError: If one changed or went away since.
        """
        try:
            files = {
                role: input_file(self.facts[role], digest_of(path, self.facts[role]))
                for role, path in read.items()
            }
            after = {role: facts_of(path) for role, path in input_paths(self.candidate).items()}
        except OSError as error:
            raise VolumeError(f"the file went away while it was read: {error.strerror}") from error
        if after != self.facts:
            raise VolumeError("the file changed while it was read: extract again when it is complete")
        return inputs_of(self.candidate, files)
