"""From native voxels to a stack of slice images, by the affine, without interpolation.

A stack is `(slice, row, column)`. In the house orientation axial slices go upwards, row 0 is anterior and
column 0 the participant's left; coronal ones go forwards, row 0 superior and column 0 the left; sagittal ones
go to the right, row 0 superior and column 0 anterior. All of it is a signed permutation of the native axes,
so the stack is a view and the way back is one exact 4x4 matrix.
"""

from functools import lru_cache
from typing import Literal, TypeVar

import numpy as np
from nibabel.orientations import io_orientation
from numpy.typing import NDArray

from cache_schema.common.strict import Strict
from cache_schema.format.plane import Plane

_T = TypeVar("_T", bound=np.generic)


class OrientSpec(Strict):
    """Which axis is sliced, and how the slice image lies."""

    to: Literal["ras", "stored"] = "ras"
    """`ras`: by the affine; `stored`: the last stored axis, unflipped, whatever it is."""


ROW, COLUMN, SLICE = 0, 1, 2
LAYOUT: dict[Plane, tuple[tuple[int, float], tuple[int, float], tuple[int, float]]] = {
    "axial": ((COLUMN, 1.0), (ROW, -1.0), (SLICE, 1.0)),
    "coronal": ((COLUMN, 1.0), (SLICE, 1.0), (ROW, -1.0)),
    "sagittal": ((SLICE, 1.0), (COLUMN, -1.0), (ROW, -1.0)),
}
"""For world x, y and z the axis of the stack that follows it, and whether along it or against it."""


def stack_to_native(
    affine: NDArray[np.float64], shape: tuple[int, int, int], spec: OrientSpec, plane: Plane = "axial"
) -> NDArray[np.float64]:
    """4x4 matrix from `(row, column, slice, 1)` of the stack to native voxel indices `(i, j, k, 1)`."""
    if spec.to == "stored":
        return np.eye(4)
    world = world_axes(affine.tobytes())
    matrix = np.eye(4)
    matrix[:3, :3] = 0.0
    for native, (axis, direction) in enumerate(world):
        column, turn = LAYOUT[plane][int(axis)]
        sign = turn * float(direction)
        matrix[native, column] = sign
        matrix[native, 3] = 0.0 if sign > 0 else shape[native] - 1
    return matrix


@lru_cache(maxsize=4096)
def world_axes(affine: bytes) -> tuple[tuple[float, float], ...]:
    """World axis and direction of every native axis; a cohort has few affines, and each takes an SVD.

    Args:
        affine: 4x4, float64, as bytes.
    """
    found = io_orientation(np.frombuffer(affine).reshape(4, 4))
    return tuple((float(axis), float(direction)) for axis, direction in found)


def as_stack(data: NDArray[_T], matrix: NDArray[np.float64]) -> NDArray[_T]:
    """View a native `(i, j, k)` array as `(slice, row, column)`.

    Args:
        data: Native array.
        matrix: From `stack_to_native`.
    """
    axes = [int(np.flatnonzero(matrix[:3, column])[0]) for column in (2, 0, 1)]
    steps = tuple(
        slice(None, None, 1 if matrix[axis, column] > 0 else -1)
        for axis, column in zip(axes, (2, 0, 1), strict=True)
    )
    return data.transpose(axes)[steps]


def stack_spacing(
    matrix: NDArray[np.float64], spacing_mm: tuple[float, float, float]
) -> tuple[float, float, float]:
    """Voxel size along `(slice, row, column)` from that along the native axes, in mm."""
    sizes = np.abs(matrix[:3, :3]).T @ np.asarray(spacing_mm)
    return float(sizes[2]), float(sizes[0]), float(sizes[1])
