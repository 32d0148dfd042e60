"""The template: the MNI152 brain out of nilearn's package, and the push that widens its ventricles.

The files are read from the installed package by path: importing nilearn takes seconds in every worker,
and its loader rescales by rules that change between versions.
"""

import importlib.util
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import nibabel
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cache_schema.common.errors import ConfigError, SlicecacheError

LATTICE_MM = 3.0
"""Distance of the nodes on which displacements are kept."""

VENTRICLE_BOX_MM = ((-36.0, 38.0), (-50.0, 38.0), (-8.0, 36.0))
"""World box (x, y, z) that holds the bodies and horns of the lateral ventricles."""

PUSH_REACH_MM = 9.0
"""Standard deviation of the push around the wall: tissue beside it gives way, the cortex stays."""

PUSH_MARGIN = 30
"""Voxels of 1 mm beyond which the push is nothing."""


@dataclass(frozen=True, slots=True)
class Template:
    """The brain at 1 mm and what is derived from it once per process."""

    t1: NDArray[np.float32]
    """`(x, y, z)`, 0 outside the brain, about 0.86 in white matter."""
    affine: NDArray[np.float64]
    """Voxel to world (MNI, RAS+ mm), 4x4."""
    white: NDArray[np.int32]
    """`(voxel, 3)`: voxels deep in the white matter, where lesions start."""
    push: NDArray[np.float32]
    """`(3, x, y, z)` on the lattice: mm of displacement per mm that the ventricles are widened."""

    def to_voxel(self, points_mm: NDArray[np.floating]) -> NDArray[np.floating]:
        """Template voxel coordinates of world points `(3, ...)`; the template's affine has no rotation."""
        origin, step = self.affine[:3, 3], np.diag(self.affine)[:3]
        shape = (3,) + (1,) * (points_mm.ndim - 1)
        return (points_mm - origin.reshape(shape)) / step.reshape(shape)


def packaged_file(kind: str) -> Path:
    """Where nilearn keeps its template, `kind` being t1, gm or wm.

    Raises:
        ConfigError: If nilearn is not installed.
        SlicecacheError: If this nilearn has no such file.
    """
    spec = importlib.util.find_spec("nilearn")
    if spec is None or spec.origin is None:
        raise ConfigError(
            "simulate needs nilearn, which is not installed: pip install 'slicecache[simulate]'"
        )
    path = (
        Path(spec.origin).parent
        / "datasets"
        / "data"
        / f"mni_icbm152_{kind}_tal_nlin_sym_09a_converted.nii.gz"
    )
    if not path.is_file():
        raise SlicecacheError(
            f"the installed nilearn has no {path.name}; the simulation needs nilearn 0.11 or newer"
        )
    return path


@lru_cache(maxsize=1)
def load_template() -> Template:
    """Read the template and derive from it; kept for the life of the process."""
    image = nibabel.load(packaged_file("t1"))
    t1 = np.asarray(image.dataobj).astype(np.float32) / np.float32(255)
    gray, white = (np.asarray(nibabel.load(packaged_file(kind)).dataobj) for kind in ("gm", "wm"))
    affine = np.asarray(image.affine, dtype=np.float64)
    ventricles = find_ventricles(t1, gray, white, affine)
    deep = ndimage.binary_erosion(white[::2, ::2, ::2] > 200, iterations=2)
    return Template(t1, affine, 2 * np.argwhere(deep).astype(np.int32), ventricle_push(ventricles))


def find_ventricles(
    t1: NDArray[np.float32], gray: NDArray[np.uint8], white: NDArray[np.uint8], affine: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """The lateral ventricles, `(x, y, z)`: the two largest pieces of fluid inside their box.

    One erosion parts them from the cisterns; one dilation inside the fluid gives the rim back.
    """
    fluid = (t1 > 0) & (gray.astype(np.int16) + white < 100)
    box = np.zeros(t1.shape, dtype=bool)
    edges = [
        slice(*(round((edge - affine[axis, 3]) / affine[axis, axis]) for edge in VENTRICLE_BOX_MM[axis]))
        for axis in range(3)
    ]
    box[tuple(edges)] = True
    labels, count = ndimage.label(ndimage.binary_erosion(fluid & box))
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    sizes[0] = 0
    largest = np.argsort(sizes)[-2:]
    return np.asarray(ndimage.binary_dilation(np.isin(labels, largest), mask=fluid & box, iterations=1))


def ventricle_push(ventricles: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Displacement `(3, x, y, z)` on the lattice, in mm per mm of widening, for a 1 mm mask.

    An output point at signed distance d from the wall takes its intensity from d - 1 (further inside),
    weighted by a Gaussian of d. One such step is one-to-one; more are taken one after the other.
    """
    near = tuple(
        slice(max(0, part.start - PUSH_MARGIN), part.stop + PUSH_MARGIN)
        for part in ndimage.find_objects(ventricles.astype(np.uint8))[0]
    )
    outside, inside = (ndimage.distance_transform_edt(mask) for mask in (~ventricles[near], ventricles[near]))
    distance = np.full(ventricles.shape, PUSH_MARGIN, dtype=np.float32)
    distance[near] = ndimage.gaussian_filter((outside - inside).astype(np.float32), 1.5)
    step = round(LATTICE_MM)
    coarse = distance[::step, ::step, ::step]
    gradient = np.stack([np.asarray(part) for part in np.gradient(coarse, LATTICE_MM)])
    return (-gradient * np.exp(-((coarse / PUSH_REACH_MM) ** 2) / 2)).astype(np.float32)
