"""Where a volume's tokens lie in its native voxels: one interpolation, written as two small matrices.

A slice image is a signed permutation of the native axes, scaled, so the way from tokens to voxels falls
apart into rows and columns: `native slice = rows @ token map @ columns.T`, with the patches' centres placed
as in `align_corners=False`. Smoothing on the canvas is linear too and goes into the same matrices. The
matrices are in the order of the native axes, so a map needs no flip afterwards.

A voxel is covered when it lies on a kept slice and on the canvas; everything else is 0. Slices that the
slice rule padded are no part of the volume and of no map.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from cache_schema.common.errors import SlicecacheError, StoreError
from cache_schema.format.record import VolumeRecord

AnyArray = TypeVar("AnyArray", bound=np.generic)

SLICES_AT_ONCE = 16
"""Slices interpolated at once: bounds the memory beside the map itself."""

TRUNCATE = 4.0
"""The Gaussian ends after so many standard deviations, as AnomalyDINO's does."""

Between = Literal["zero", "linear"]
"""What native slices between two kept ones get: 0, or a straight line between the two."""


@dataclass(frozen=True, slots=True)
class Placement:
    """From the token grid of one volume to its native voxels."""

    shape: tuple[int, int, int]
    """Native `(i, j, k)`."""
    axes: tuple[int, int, int]
    """The native axes along which slices, rows and columns run."""
    rows: NDArray[np.float32]
    """`(native row, grid row)`; a row sums to 1, or to 0 where it lies off the canvas."""
    columns: NDArray[np.float32]
    """`(native column, grid column)`."""
    positions: NDArray[np.int64]
    """`(slice,)`: native index along `axes[0]` of every kept slice that the volume has."""
    there: NDArray[np.bool_] | None = None
    """`(kept slice,)`: which of them those are, the others being padding that lies nowhere; None for all."""

    def as_stack(self, native: NDArray[AnyArray]) -> NDArray[AnyArray]:
        """View a native array as `(slice, row, column)`, all in native order."""
        return native.transpose(self.axes)

    @property
    def on_canvas(self) -> NDArray[np.bool_]:
        """`(native row, native column)`: which voxels of a kept slice the canvas shows."""
        return np.logical_and.outer(self.rows.any(axis=1), self.columns.any(axis=1))

    @property
    def n_slices(self) -> int:
        """Kept slices, padding included."""
        return len(self.positions) if self.there is None else len(self.there)

    def in_volume(self, per_slice: NDArray[AnyArray]) -> NDArray[AnyArray]:
        """What belongs to the slices of `positions`, of `(kept slice, ...)`."""
        return per_slice if self.there is None else per_slice[self.there]

    def covered(self) -> NDArray[np.bool_]:
        """Which native voxels `(i, j, k)` have a score of their own."""
        mask = np.zeros(self.shape, dtype=bool, order="F")
        self.as_stack(mask)[self.positions] = self.on_canvas
        return mask


def placement(record: VolumeRecord, grid: tuple[int, int], smooth_pixels: float = 0.0) -> Placement:
    """Work out a volume's placement from its record.

    Args:
        record: Geometry and kept slices.
        grid: Rows and columns of patches.
        smooth_pixels: Standard deviation, in canvas pixels, of a Gaussian (truncated at 4, reflected at
            the canvas' edge) over the map brought to the canvas; 0 for none.

    Raises:
        StoreError: If the canvas is turned askew against the native axes, as slices of a view may be.
    """
    geometry = record.geometry
    matrix = np.asarray(geometry.canvas_to_native, dtype=np.float64)
    row, column, index = (_native_axis(matrix, along, record) for along in range(3))
    if len({row, column, index}) != 3:
        raise StoreError(f"the record of {record.key}: canvas_to_native maps two canvas axes to one")
    sides = [
        axis_weights(matrix[axis, along], matrix[axis, 3], geometry.native_shape[axis], pixels, patches,
                 smooth_pixels)
        for along, axis, pixels, patches in zip((0, 1), (row, column), geometry.canvas, grid, strict=True)
    ]  # fmt: skip
    kept = np.asarray(record.slices.index, dtype=np.float64)
    there = (kept >= 0) & (kept < record.slices.n_volume)
    positions = np.rint(matrix[index, 2] * kept[there] + matrix[index, 3]).astype(np.int64)
    if not len(positions) or positions.min() < 0 or positions.max() >= geometry.native_shape[index]:
        raise StoreError(f"the record of {record.key}: a kept slice lies outside the native volume")
    return Placement(geometry.native_shape, (index, row, column), sides[0], sides[1], positions, there)


def _native_axis(matrix: NDArray[np.float64], along: int, record: VolumeRecord) -> int:
    """The one native axis that a canvas axis runs along."""
    used = np.flatnonzero(matrix[:, along])
    if len(used) != 1:
        raise StoreError(
            f"the record of {record.key}: canvas axis {along} runs along {len(used)} native axes, and maps "
            "can be placed along one only; of slices that were turned there are none"
        )
    return int(used[0])


def axis_weights(
    step: float, origin: float, length: int, pixels: int, patches: int, smooth_pixels: float = 0.0
) -> NDArray[np.float32]:
    """Weights `(native, patch)` of one axis on which `native = step * canvas pixel + origin`.

    Args:
        step: Native voxels per canvas pixel; negative where they run against each other.
        origin: Native index of canvas pixel 0.
        length: Native voxels.
        pixels: Canvas pixels.
        patches: Patches along the axis.
        smooth_pixels: See `placement`.
    """
    canvas = (np.arange(length) - origin) / step
    if smooth_pixels:
        onto_canvas = _linear(_in_patches(np.arange(pixels, dtype=np.float64), pixels, patches), patches)
        smoothed = gaussian_filter1d(onto_canvas, smooth_pixels, axis=0, mode="reflect", truncate=TRUNCATE)
        weights = _linear(canvas, pixels) @ smoothed
    else:
        weights = _linear(_in_patches(canvas, pixels, patches), patches)
    # Half a pixel beyond the outermost centres is where the canvas ends; rounding must not move that.
    weights[(canvas < -0.5 - 1e-9) | (canvas > pixels - 0.5 + 1e-9)] = 0.0
    return weights.astype(np.float32)


def _in_patches(canvas: NDArray[np.floating], pixels: int, patches: int) -> NDArray[np.float64]:
    """Canvas pixels as fractional patch indices: a patch's centre is the middle of its pixels."""
    return np.asarray((canvas + 0.5) * (patches / pixels) - 0.5)


def _linear(place: NDArray[np.floating], count: int) -> NDArray[np.float64]:
    """Linear interpolation weights `(place, count)`; beyond the ends the last value holds."""
    inside = np.clip(place, 0, count - 1)
    return np.asarray(np.maximum(0.0, 1.0 - np.abs(inside[:, None] - np.arange(count)[None])))


def native_slices(
    scores: NDArray[np.float32], place: Placement, between: Between = "zero"
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """Interpolate a score map block by block.

    Args:
        scores: `(slice, row, col)` over the kept slices.
        place: From `placement`.
        between: `zero`: kept slices only; `linear`: also those between two kept ones.

    Yields:
        Native indices `(n,)` along `place.axes[0]`, and their values `(n, native row, native column)`.

    Raises:
        SlicecacheError: If the map does not fit the placement, or is not finite.
    """
    expected = (place.n_slices, place.rows.shape[1], place.columns.shape[1])
    if scores.shape != expected:
        raise SlicecacheError(f"a score map of shape {expected} is expected, not {scores.shape}")
    if not np.isfinite(scores).all():
        raise SlicecacheError("a score map must be finite: the detector gave NaN or infinity")
    scores = place.in_volume(scores)
    targets, low, high, share = _along(place.positions, between)
    for start in range(0, len(targets), SLICES_AT_ONCE):
        part = slice(start, start + SLICES_AT_ONCE)
        mixed = scores[low[part]]
        if between == "linear":
            weight = share[part, None, None]
            mixed = (1 - weight) * mixed + weight * scores[high[part]]
        yield targets[part], place.rows @ (mixed @ place.columns.T)


def _along(
    positions: NDArray[np.int64], between: Between
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Native slices, the kept slice before and after each, and the share of the latter."""
    order = np.argsort(positions)
    known = positions[order]
    if between == "zero":
        return known, order, order, np.zeros(len(known), dtype=np.float32)
    targets = np.arange(known[0], known[-1] + 1)
    after = np.clip(np.searchsorted(known, targets), 1 if len(known) > 1 else 0, len(known) - 1)
    before = np.maximum(after - 1, 0)
    gap = np.maximum(known[after] - known[before], 1)
    share = ((targets - known[before]) / gap).astype(np.float32)
    return targets, order[before], order[after], share


def native_map(
    scores: NDArray[np.float32], place: Placement, between: Between = "zero"
) -> NDArray[np.float32]:
    """A whole anomaly map `(i, j, k)` in native voxels, 0 where nothing is covered.

    Args:
        scores: `(slice, row, col)` over the kept slices.
        place: From `placement`.
        between: See `native_slices`.

    Raises:
        SlicecacheError: As `native_slices`.
    """
    # Fortran order is the order of the file, so that writing copies nothing.
    out = np.zeros(place.shape, dtype=np.float32, order="F")
    stack = place.as_stack(out)
    for positions, values in native_slices(scores, place, between):
        stack[positions] = values
    return out
