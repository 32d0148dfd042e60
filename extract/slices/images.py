"""Kept slices as the backbone will get them: intensities scaled, and the way onto the canvas."""

import numpy as np
from numpy.typing import NDArray

from cache_schema.common.errors import VolumeError
from extract.slices.canvas import Axis, CropCanvas, resize_and_crop
from extract.slices.intensity import Percentile, SliceMinMax, quantiles, slice_minmax, window
from extract.slices.preprocessing import Preprocessing

OnCanvas = tuple[
    NDArray[np.generic], NDArray[np.uint8], NDArray[np.float32] | None, NDArray[np.float32] | None
]
"""Images, mask, row weights and column weights of `extract.slices.prepare.PreparedVolume`."""


def _grey(
    preprocessing: Preprocessing, images: NDArray[np.floating], values: NDArray[np.floating]
) -> NDArray[np.float32] | NDArray[np.uint8]:
    """Scale the intensities: float32 in `[0, 1]`, or 8 bits where the step truncates to them."""
    match preprocessing.intensity:
        case SliceMinMax():
            return slice_minmax(images.astype(np.float64, copy=False))
        case Percentile(low=low, high=high):
            return window(images, *quantiles(values, (low, high)))


def cropped(
    preprocessing: Preprocessing,
    canvas: CropCanvas,
    images: NDArray[np.floating],
    mask: NDArray[np.bool_],
    values: NDArray[np.floating],
) -> OnCanvas:
    """Resize with Pillow here and now: its 8-bit arithmetic is part of the published method."""
    grey = _grey(preprocessing, images, values)
    if grey.dtype == np.uint8:
        eight_bit = grey.astype(np.uint8, copy=False)
    else:
        eight_bit = np.rint(grey * np.float32(255)).astype(np.uint8)
    shown = resize_and_crop(mask.astype(np.uint8) * 255, canvas) >= 128
    return resize_and_crop(eight_bit, canvas), shown.view(np.uint8), None, None


def in_field(
    preprocessing: Preprocessing,
    images: NDArray[np.floating],
    mask: NDArray[np.bool_],
    values: NDArray[np.floating],
    rows: Axis,
    columns: Axis,
) -> OnCanvas:
    """Cut what the field never touches, and give the weights that resample the rest on the device."""
    row_weights, column_weights = rows.weights(), columns.weights()
    down, across = _touched(row_weights), _touched(column_weights)
    if isinstance(preprocessing.intensity, Percentile):
        grey = _grey(preprocessing, images[:, down, across], values).astype(np.float32, copy=False)
    else:  # a slice's own minimum and maximum are those of the whole slice
        eight_bit = _grey(preprocessing, images, values)[:, down, across]
        grey = eight_bit.astype(np.float32) / np.float32(255)
    return (
        grey,
        np.ascontiguousarray(mask[:, down, across]).view(np.uint8),
        np.ascontiguousarray(row_weights[:, down]),
        np.ascontiguousarray(column_weights[:, across]),
    )


def _touched(weights: NDArray[np.float32]) -> slice:
    """The range of source pixels that any canvas pixel uses."""
    used = np.flatnonzero(weights.any(axis=0))
    if used.size == 0:
        raise VolumeError("the field shows nothing of the volume")
    return slice(int(used[0]), int(used[-1]) + 1)
