"""Kept slices as the backbone will get them: intensities scaled, and the way onto the canvas."""

from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from cache_schema.common.errors import VolumeError
from extract.slices.canvas import Axis, CropOrPadCanvas
from extract.slices.intensity import SliceMinMax, Zscore
from extract.slices.preprocessing import Preprocessing
from extract.slices.resize import PILLOW, Resize, resize_with_pillow
from extract.slices.tone import UNIT, Tone, tone_of

_T = TypeVar("_T", bound=np.generic)


class OnCanvas(NamedTuple):
    """The fields of `extract.slices.prepare.PreparedVolume` beside the draft."""

    images: NDArray[np.generic]
    mask: NDArray[np.uint8]
    row_weights: NDArray[np.float32] | None = None
    column_weights: NDArray[np.float32] | None = None
    resize: Resize | None = None
    background: float = 0.0
    span: tuple[float, float] = UNIT


class Sliced(NamedTuple):
    """What of a volume the images are made of; stacks are `(slice, row, column)`."""

    images: NDArray[np.floating]
    """The kept slices that the volume has."""
    mask: NDArray[np.bool_]
    """Their foreground."""
    padding: tuple[int, int]
    """Slices that the rule pads before and after them."""
    volume: NDArray[np.floating]
    foreground: NDArray[np.floating]
    """Intensities of the whole foreground, flat."""
    rows: Axis
    columns: Axis
    resize: Resize | None
    """Of a canvas that is a number of pixels."""


def on_canvas(preprocessing: Preprocessing, source: Sliced) -> OnCanvas:
    """Scale the intensities, and bring the slices onto the canvas or say how the device does it.

    Raises:
        VolumeError: If the intensities do not vary, or the canvas shows nothing of the volume.
    """
    canvas = preprocessing.canvas
    zero = isinstance(canvas, CropOrPadCanvas) and canvas.fill == "zero"
    fill = 0.0 if zero else float(source.volume.min())

    def counted(spec: Zscore) -> NDArray[np.floating]:
        return {
            "canvas": lambda: cropped_or_padded(source.images, fill, source),
            "volume": lambda: source.volume,
            "foreground": lambda: source.foreground,
        }[spec.over]()

    tone = tone_of(preprocessing.intensity, source.foreground, counted)
    background = tone.background(fill)
    if isinstance(canvas, CropOrPadCanvas):
        made = _as_stored(tone, fill, source)
    elif source.resize is not None:
        made = _resized(tone, background, source.resize, source)
    else:
        made = _in_field(tone, background, source)
    return made._replace(background=background, span=tone.span)


def _as_stored(tone: Tone, fill: float, source: Sliced) -> OnCanvas:
    """A voxel a pixel: there is nothing to resample."""
    mask = cropped_or_padded(source.mask.view(np.uint8), 0, source)
    return OnCanvas(tone.grey(cropped_or_padded(source.images, fill, source)), mask)


def _resized(tone: Tone, background: float, resize: Resize, source: Sliced) -> OnCanvas:
    """Resize with Pillow here and now, in its own arithmetic; with torch on the device."""
    if resize.filter not in PILLOW:
        return OnCanvas(
            padded_slices(tone.grey(source.images), source.padding, background),
            padded_slices(np.ascontiguousarray(source.mask).view(np.uint8), source.padding, 0),
            resize=resize,
        )
    grey = tone.for_pillow(source.images)
    behind = round(background * 255) if grey.dtype == np.uint8 else background
    shown = resize_with_pillow(source.mask.astype(np.uint8) * 255, resize, 0) >= 128
    return OnCanvas(
        padded_slices(resize_with_pillow(grey, resize, behind), source.padding, behind),
        padded_slices(shown.view(np.uint8), source.padding, 0),
    )


def _in_field(tone: Tone, background: float, source: Sliced) -> OnCanvas:
    """Cut what the field never touches, and give the weights that resample the rest on the device.

    Outside the volume the weights are 0: the background is what lies there once it is added again.
    """
    row_weights, column_weights = source.rows.weights(), source.columns.weights()
    down, across = _touched(row_weights), _touched(column_weights)
    if isinstance(tone.spec, SliceMinMax):  # a slice's own minimum and maximum are those of the whole slice
        grey = tone.grey(source.images)[:, down, across]
    else:
        grey = tone.grey(source.images[:, down, across])
    if background:
        grey = grey - np.float32(background)
    return OnCanvas(
        padded_slices(grey, source.padding, 0),
        padded_slices(np.ascontiguousarray(source.mask[:, down, across]).view(np.uint8), source.padding, 0),
        np.ascontiguousarray(row_weights[:, down]),
        np.ascontiguousarray(column_weights[:, across]),
    )


def cropped_or_padded(stack: NDArray[_T], fill: float, source: Sliced) -> NDArray[_T]:
    """What a crop-or-pad canvas shows of a stack, all slices that are kept, as a new array."""
    before, after = source.padding
    axes = source.rows, source.columns
    out = np.full((before + len(stack) + after, *(axis.pixels for axis in axes)), fill, dtype=stack.dtype)
    shown = [axis.shown() for axis in axes]
    places = [
        slice(part.start - int(axis.origin), part.stop - int(axis.origin))
        for part, axis in zip(shown, axes, strict=True)
    ]
    out[before : before + len(stack), places[0], places[1]] = stack[:, shown[0], shown[1]]
    return out


def padded_slices(stack: NDArray[_T], padding: tuple[int, int], value: float) -> NDArray[_T]:
    """A stack with slices of one value before and after; the same array where there are none."""
    return np.pad(stack, (padding, (0, 0), (0, 0)), constant_values=value) if any(padding) else stack


def _touched(weights: NDArray[np.float32]) -> slice:
    """The range of source pixels that any canvas pixel uses."""
    used = np.flatnonzero(weights.any(axis=0))
    if used.size == 0:
        raise VolumeError("the field shows nothing of the volume")
    return slice(int(used[0]), int(used[-1]) + 1)
