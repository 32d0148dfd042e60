"""One head's anatomy: size, shape and ventricles, as a map from its own millimetres to the template's."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from extract.simulate.template import LATTICE_MM, Template

SHAPE_NODES_MM = 24.0
"""Smoothness (standard deviation) of the random shape."""


@dataclass(frozen=True, slots=True)
class Anatomy:
    """What a participant's brain is like in one session."""

    shape_seed: tuple[int, ...]
    """Draws the random shape; the same in all sessions of a participant."""
    scale: tuple[float, float, float]
    """Size along right, anterior and superior, relative to the template."""
    shape_mm: float = 2.0
    """Standard deviation of the random displacement."""
    ventricle_mm: float = 0.0
    """How far the wall of the lateral ventricles is moved outwards."""


def displacement(anatomy: Anatomy, template: Template) -> NDArray[np.float32]:
    """Displacement `(3, x, y, z)` in mm on the template's lattice."""
    rng = np.random.default_rng(anatomy.shape_seed)
    nodes = template.push.shape[1:]
    field = np.empty(template.push.shape, dtype=np.float32)
    for axis in range(3):
        noise = rng.standard_normal(nodes, dtype=np.float32)
        smooth = ndimage.gaussian_filter(noise, SHAPE_NODES_MM / LATTICE_MM, mode="wrap", truncate=3)
        field[axis] = smooth / smooth.std() * anatomy.shape_mm
    return field + np.float32(anatomy.ventricle_mm) * template.push


def to_template(
    points_mm: NDArray[np.float32], anatomy: Anatomy, template: Template
) -> NDArray[np.float32]:
    """Template voxel coordinates `(3, ...)` of points `(3, ...)` in the head's own millimetres."""
    scale = np.asarray(anatomy.scale, dtype=np.float32).reshape((3,) + (1,) * (points_mm.ndim - 1))
    voxel = template.to_voxel(points_mm / scale).astype(np.float32)
    step_mm = np.float32(np.diag(template.affine)[0])
    node = voxel * (step_mm / np.float32(LATTICE_MM))
    field = displacement(anatomy, template)
    for axis in range(3):
        voxel[axis] += ndimage.map_coordinates(field[axis], node, order=1, mode="nearest") / step_mm
    return voxel
