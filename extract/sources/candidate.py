"""A volume before anybody has looked into it: who it is and where its file lies."""

import os
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from cache_schema.format.identity import VolumeKey
from cache_schema.format.record import Entities

EXTENSIONS = (".nii.gz", ".nii", ".mgz", ".mgh", ".img.gz", ".img", ".hdr.gz", ".hdr", ".mnc", ".rec")
"""Endings that are cut off a file's name; longest first where one ends another."""

CONTRASTS = {
    "t1": "T1w", "t1w": "T1w", "mprage": "T1w", "spgr": "T1w", "t2": "T2w", "t2w": "T2w",
    "flair": "FLAIR", "pd": "PDw", "pdw": "PDw", "swi": "SWI",
}  # fmt: skip
"""Words in file names that name a contrast beyond doubt."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One volume of the input, found but not opened."""

    key: VolumeKey
    path: Path
    source: str
    """Relative to the input root, or `sha256:` and the digest of the absolute path outside it."""
    entities: Entities
    foreground_path: Path | None = None
    orientation: str | None = None
    """Axis codes such as `RAS` when the manifest states them."""
    dataset: str = ""
    """Name inside an HDF5 file; empty for an image file."""
    spacing_mm: tuple[float, float, float] | None = None
    """Voxel sizes along the stored axes when the manifest states them; only for HDF5, images have theirs."""
    given: str = ""
    """The path as the user gave it, where that is not `source`; for their eyes, never stored."""
    refusal: str = ""
    """Why it cannot be embedded, where that shows before its file is opened."""

    @property
    def shown(self) -> str:
        """What the user calls the file."""
        return self.given or self.source


def source_name(path: Path, root: Path) -> str:
    """How a record names a file: relative to the root, or only a digest of its path when outside."""
    absolute, base = os.path.abspath(path), os.path.abspath(root)
    relative = os.path.relpath(absolute, base)
    if relative.startswith(os.pardir):
        return "sha256:" + sha256(absolute.encode()).hexdigest()
    return Path(relative).as_posix()


def stem(path: Path) -> str:
    """The file's name without its image extension, both parts of `.nii.gz` included."""
    lower = path.name.lower()
    for extension in EXTENSIONS:
        if lower.endswith(extension) and len(lower) > len(extension):
            return path.name[: -len(extension)]
    return path.stem


def bids_parts(name: str) -> tuple[dict[str, str], str]:
    """Split `sub-01_acq-x_T1w` into its entities, in order, and its suffix (empty when there is none)."""
    *pairs, last = name.split("_")
    entities = dict(pair.split("-", 1) for pair in pairs if "-" in pair)
    if "-" in last:
        label, value = last.split("-", 1)
        return {**entities, label: value}, ""
    return entities, last


def entities_of(parts: dict[str, str], contrast: str) -> Entities:
    """The entities that stage two may select by."""
    return Entities(
        contrast=contrast,
        run=parts.get("run", ""),
        acquisition=parts.get("acq", ""),
        space=parts.get("space", ""),
        description=parts.get("desc", ""),
    )


def contrast_of(name: str) -> str:
    """The one contrast that the words of a file's name speak of, else empty."""
    words = "".join(letter if letter.isalnum() else " " for letter in name.lower()).split()
    found = {CONTRASTS[word] for word in words if word in CONTRASTS}
    return found.pop() if len(found) == 1 else ""
