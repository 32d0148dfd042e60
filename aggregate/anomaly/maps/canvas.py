"""A volume's slices as pictures: native voxels at the canvas' pixels, and which side lies where."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from aggregate.anomaly.maps.placement import axis_weights
from cache_schema.format.record import Geometry, VolumeRecord

LETTERS = (("L", "R"), ("P", "A"), ("I", "S"))
"""Ends of the world's axes, which run to the right, to the front and up."""


class Sides(NamedTuple):
    """Letters at the four edges of a slice's picture; empty where the file does not say its orientation."""

    left: str
    right: str
    top: str
    bottom: str


def sides(geometry: Geometry) -> Sides:
    """Which side of the participant each edge of the canvas shows."""
    if geometry.orientation == "unknown":
        return Sides("", "", "", "")
    to_native = np.asarray(geometry.canvas_to_native, dtype=np.float64)[:, :2]
    down, across = (np.asarray(geometry.affine, dtype=np.float64)[:3, :3] @ to_native).T
    return Sides(*_ends(across), *_ends(down))


def _ends(step: NDArray[np.float64]) -> tuple[str, str]:
    """Letters where a canvas axis begins and ends, of its step in the world."""
    axis = int(np.argmax(np.abs(step)))
    low, high = LETTERS[axis]
    return (low, high) if step[axis] > 0 else (high, low)


def canvas_slice(
    native: NDArray[np.generic], record: VolumeRecord, place: int, nearest: bool = False
) -> NDArray[np.float32] | None:
    """One kept slice of a native volume `(i, j, k)` as the canvas shows it `(row, col)`; 0 beyond the volume.

    Args:
        native: The image, or a mask on its grid.
        record: Of the volume.
        place: Among its kept slices.
        nearest: Take the nearest voxel, for a mask, and no mean of neighbours.

    Returns:
        None for a slice that the slice rule padded: no volume has it.
    """
    index = record.slices.index[place]
    if not 0 <= index < record.slices.n_volume:
        return None
    rows, columns = record.geometry.canvas
    down, across = np.mgrid[:rows, :columns].astype(np.float64)
    pixels = np.stack([down, across, np.full_like(down, index), np.ones_like(down)])
    where = np.tensordot(np.asarray(record.geometry.canvas_to_native), pixels, axes=1)
    voxels = native.astype(np.uint8) if native.dtype == bool else native
    order = 0 if nearest else 1
    return np.asarray(map_coordinates(voxels, where, np.float32, order, "constant", 0.0, False))


def canvas_map(
    tokens: NDArray[np.floating], canvas: tuple[int, int], smooth_pixels: float = 0.0
) -> NDArray[np.float32]:
    """One slice's token scores `(row, col)` at the canvas' pixels, interpolated as its NIfTI map is.

    Args:
        tokens: Of one slice.
        canvas: Pixels along rows and columns.
        smooth_pixels: As in `placement`.
    """
    rows, columns = (
        axis_weights(1.0, 0.0, pixels, pixels, patches, smooth_pixels)
        for pixels, patches in zip(canvas, tokens.shape, strict=True)
    )
    return np.asarray(rows @ tokens.astype(np.float32) @ columns.T)
