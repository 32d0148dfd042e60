"""Everything that shaped a volume's numbers, so that a corrected mask is never answered "already there".

`Inputs` holds one digest over all of it, the parts that a change is named by, and per file the cheap facts
by which a resume trusts it without reading it again.
"""

from typing import Any, Self

from cache_schema.common.strict import Strict
from cache_schema.format.canonical import sha256_json

ROLES = {
    "image": "file",
    "header": "header",
    "voxels": "voxels",
    "mat": "affine (.mat)",
    "mask": "foreground mask",
    "mask_header": "header of the foreground mask",
    "mask_voxels": "voxels of the foreground mask",
    "mask_mat": "affine (.mat) of the foreground mask",
}
"""What a file was read for -> what it is called."""


class InputFile(Strict):
    """One file as it was when its bytes were read."""

    bytes: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    sha256: str

    @property
    def facts(self) -> tuple[int, int, int, int]:
        """What tells a file from another one without reading it."""
        return self.bytes, self.mtime_ns, self.ctime_ns, self.inode


class Inputs(Strict):
    """What a volume was made from."""

    sha256: str
    """Over the digests of the files by role and all that was stated; not over places, times and inodes."""
    files: dict[str, InputFile]
    """By role: `image` always, the others of `ROLES` where there is such a file."""
    orientation: str | None = None
    """Axis codes as the manifest states them."""
    spacing_mm: tuple[float, float, float] | None = None
    """Voxel sizes as the manifest states them."""
    dataset: str | None = None
    """Name inside an HDF5 file; an export leaves it out, as it leaves out paths."""

    @classmethod
    def of(
        cls,
        files: dict[str, InputFile],
        orientation: str | None,
        spacing_mm: tuple[float, float, float] | None,
        dataset: str | None,
    ) -> Self:
        """The parts with the digest over them."""
        said: dict[str, Any] = {"orientation": orientation, "spacing_mm": spacing_mm, "dataset": dataset}
        parts = {role: file.sha256 for role, file in files.items()}
        parts |= {name: value for name, value in said.items() if value is not None}
        return cls(sha256=sha256_json(parts), files=files, **said)


def differing_inputs(before: Inputs, now: Inputs) -> list[str]:
    """What is otherwise than it was, in words; nothing when the numbers would be the same."""
    if before.sha256 == now.sha256:
        return []
    found = []
    for role, name in ROLES.items():
        old, new = before.files.get(role), now.files.get(role)
        if (old and old.sha256) != (new and new.sha256):
            found.append(name + (" (none now)" if new is None else " (none then)" if old is None else ""))
    stated = {"orientation": "stated orientation", "spacing_mm": "stated spacing_mm", "dataset": "dataset"}
    for field, name in stated.items():
        then, there = getattr(before, field), getattr(now, field)
        if then != there and not (field == "dataset" and then is None):
            found.append(f"{name} ({_shown(then)} then, {_shown(there)} now)")
    return found


def _shown(value: object) -> str:
    return "none" if value is None else repr(value)
