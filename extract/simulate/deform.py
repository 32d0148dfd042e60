"""One head's anatomy: size, shape and ventricles, as a map from its own millimetres to the template's."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from extract.simulate.template import LATTICE_MM, Template

SHAPE_NODES_MM = 24.0
"""Smoothness (standard deviation) of the random shape."""

PUSH_FLOOR = 1e-3
"""A push below this (mm per mm) counts as none."""


@dataclass(frozen=True, slots=True)
class Anatomy:
    """What a participant's brain is like in one session."""

    shape_seed: tuple[int, ...]
    """Draws the random shape; the same in all sessions of a participant."""
    scale: tuple[float, float, float]
    """Size along right, anterior and superior, relative to the template."""
    shape_mm: float = 1.2
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
    return field + widening(anatomy.ventricle_mm, template)


def widening(amount_mm: float, template: Template) -> NDArray[np.float32]:
    """Follow the push for `amount_mm` in steps of at most 1 mm; displacement `(3, x, y, z)` on the lattice.

    One straight step of several millimetres would cross the middle of the ventricle and fold the brain;
    small steps that each look up the push where they have come to do not.
    """
    steps = max(1, math.ceil(abs(amount_mm)))
    near = (slice(None), *push_box(template))
    push = template.push[near] * np.float32(amount_mm / steps)
    node = np.indices(push.shape[1:], dtype=np.float32)
    moved = np.zeros_like(push)
    for _ in range(steps):
        place = node + moved / np.float32(LATTICE_MM)
        moved += np.stack([ndimage.map_coordinates(part, place, order=1, mode="nearest") for part in push])
    field = np.zeros_like(template.push)
    field[near] = moved
    return field


def push_box(template: Template) -> tuple[slice, slice, slice]:
    """The part of the lattice in which there is a push."""
    box = ndimage.find_objects(np.any(np.abs(template.push) > PUSH_FLOOR, axis=0).astype(np.uint8))[0]
    return box[0], box[1], box[2]


def to_template(points_mm: NDArray[np.float32], anatomy: Anatomy, template: Template) -> NDArray[np.float32]:
    """Template voxel coordinates `(3, ...)` of points `(3, ...)` in the head's own millimetres."""
    scale = np.asarray(anatomy.scale, dtype=np.float32).reshape((3,) + (1,) * (points_mm.ndim - 1))
    voxel = template.to_voxel(points_mm / scale).astype(np.float32)
    step_mm = np.float32(np.diag(template.affine)[0])
    node = voxel * (step_mm / np.float32(LATTICE_MM))
    field = displacement(anatomy, template)
    for axis in range(3):
        voxel[axis] += ndimage.map_coordinates(field[axis], node, order=1, mode="nearest") / step_mm
    return voxel
