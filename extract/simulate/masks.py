"""Lesions in the shape of the user's own masks: a folder of NIfTI masks in the template's (MNI) space."""

from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cache_schema.common.errors import SlicecacheError, VolumeError
from extract.simulate.template import Template
from extract.volume.headers import BROKEN, one_line, open_image, quiet, usable_shape


@dataclass(frozen=True, slots=True)
class MaskLesion:
    """One mask, as it is or with left and right exchanged."""

    path: str
    mirrored: bool
    darkening: float
    """Intensity inside, relative to healthy tissue."""


def list_masks(place: Path) -> tuple[Path, ...]:
    """The masks of a folder, or those that a pattern such as `masks/Subject_*.nii.gz` names, by name.

    Raises:
        SlicecacheError: If there is none, or one is no mask.
    """
    candidates = place.glob("*") if place.is_dir() else place.parent.glob(place.name)
    found = sorted(path for path in candidates if path.name.endswith((".nii", ".nii.gz")))
    if not found:
        raise SlicecacheError(
            f"{str(place)!r} holds no lesion mask: a folder of .nii or .nii.gz, or a pattern, is expected"
        )
    for path in found:
        read_shape_mask(str(path))
    return tuple(found)


def digest_masks(masks: tuple[Path, ...]) -> str:
    """SHA-256 over names and contents: what a simulation depends on, wherever the folder lies."""
    lines = [f"{path.name} {sha256(path.read_bytes()).hexdigest()}" for path in masks]
    return sha256("\n".join(lines).encode()).hexdigest()


def draw_mask(masks: tuple[Path, ...], seed: tuple[int, ...], darkening: float) -> MaskLesion:
    """One of the masks, mirrored half of the time."""
    rng = np.random.default_rng((*seed, 2))
    return MaskLesion(str(masks[rng.integers(len(masks))]), bool(rng.integers(2)), darkening)


@lru_cache(maxsize=2)
def read_shape_mask(path: str) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """A mask `(x, y, z)` as 0 and 1, and its voxel-to-world affine (4, 4).

    Raises:
        SlicecacheError: If it cannot be read, is no 3D mask, or is empty.
    """
    try:
        with quiet():
            image = open_image(Path(path))
            usable_shape(image)
            values = np.asarray(image.dataobj)
    except (VolumeError, *BROKEN) as error:
        raise SlicecacheError(
            f"the lesion mask {Path(path).name!r} cannot be read: {one_line(error)}"
        ) from error
    if values.ndim != 3 or not np.isin(values, (0, 1)).all() or not values.any():
        raise SlicecacheError(
            f"{Path(path).name!r} is no lesion mask: three axes, zeros and some ones are expected"
        )
    return values.astype(np.float32), np.asarray(image.affine, dtype=np.float64)


def mask_share(
    lesion: MaskLesion, coordinates: NDArray[np.float32], template: Template
) -> NDArray[np.float32]:
    """How much of each point belongs to the lesion, 0 to 1, linear between the mask's voxels.

    Args:
        lesion: In the template's world.
        coordinates: `(3, x, y, z)`, template voxels of the points.
        template: Gives the way to the world.
    """
    values, affine = read_shape_mask(lesion.path)
    mirror = np.diag([-1.0, 1.0, 1.0, 1.0]) if lesion.mirrored else np.eye(4)
    to_mask = (np.linalg.inv(affine) @ mirror @ template.affine).astype(np.float32)
    places = np.tensordot(to_mask[:3, :3], coordinates, axes=1) + to_mask[:3, 3, None, None, None]
    return np.asarray(ndimage.map_coordinates(values, places, order=1, mode="constant"), dtype=np.float32)
