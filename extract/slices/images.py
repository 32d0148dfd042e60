"""Kept slices as the backbone will get them: intensities scaled, and the way onto the canvas."""

import hashlib
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from cache_schema.common.errors import VolumeError
from extract.slices.canvas import Axis, CropOrPadCanvas, FieldCanvas
from extract.slices.intensity import SliceMinMax, Zscore
from extract.slices.preprocessing import Preprocessing
from extract.slices.resize import PILLOW, Resize, resize_with_pillow
from extract.slices.tone import UNIT, Tone, tone_of
from extract.slices.view import Turn

_T = TypeVar("_T", bound=np.generic)

SAMPLED = 16
"""Every so manieth row and column is compared before whole slices are: those that differ mostly do there."""


class OnCanvas(NamedTuple):
    """The fields of `extract.slices.prepare.PreparedVolume` beside the draft."""

    images: NDArray[np.generic]
    mask: NDArray[np.uint8]
    row_weights: NDArray[np.float32] | None = None
    column_weights: NDArray[np.float32] | None = None
    resize: Resize | None = None
    background: float = 0.0
    span: tuple[float, float] = UNIT
    tone: Tone | None = None


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
    turn: Turn | None = None
    """On the canvas of a field, before any other."""

    @property
    def in_eight_bits(self) -> bool:
        """Whether Pillow resizes them; they are turned in the 8 bits that it gets, as published."""
        return self.resize is not None and self.resize.filter in PILLOW

    def turned(self) -> "Sliced":
        """With foreground and images turned, but for the images that Pillow gets."""
        if self.turn is None:
            return self
        images = self.images if self.in_eight_bits else self.turn.of(self.images)
        return self._replace(images=images, mask=self.turn.of(self.mask))


def on_canvas(preprocessing: Preprocessing, source: Sliced) -> OnCanvas:
    """Scale the intensities, and bring the slices onto the canvas or say how the device does it.

    Raises:
        VolumeError: If the intensities do not vary, or the canvas shows nothing of the volume.
    """
    canvas = preprocessing.canvas
    if not isinstance(canvas, FieldCanvas):
        source = source.turned()
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
    elif source.turn is not None:
        made = _turned_field(tone, background, source.turn, source)
    else:
        made = _in_field(tone, background, fill, source)
    return made._replace(background=background, span=tone.span)


def _as_stored(tone: Tone, fill: float, source: Sliced) -> OnCanvas:
    """A voxel a pixel: there is nothing to resample."""
    mask = cropped_or_padded(source.mask.view(np.uint8), 0, source)
    return OnCanvas(tone.grey(cropped_or_padded(source.images, fill, source)), mask)


def _resized(tone: Tone, background: float, resize: Resize, source: Sliced) -> OnCanvas:
    """Resize with Pillow here and now, in its own arithmetic; with torch on the device."""
    if not source.in_eight_bits:
        return OnCanvas(
            padded_slices(tone.grey(source.images), source.padding, background),
            padded_slices(np.ascontiguousarray(source.mask).view(np.uint8), source.padding, 0),
            resize=resize,
        )
    grey: NDArray[np.generic] = tone.for_pillow(source.images)
    grey = grey if source.turn is None else source.turn.of(grey)
    behind = round(background * 255) if grey.dtype == np.uint8 else background
    shown = resize_with_pillow(source.mask.astype(np.uint8) * 255, resize, 0) >= 128
    return OnCanvas(
        padded_slices(resize_with_pillow(grey, resize, behind), source.padding, behind),
        padded_slices(shown.view(np.uint8), source.padding, 0),
    )


def _in_field(tone: Tone, background: float, fill: float, source: Sliced) -> OnCanvas:
    """Cut what the field never touches, and give the weights that resample the rest on the device.

    Outside the volume the weights are 0: the background is what lies there once it is added again.
    Intensities that fit 16 bits travel in them, and the device scales them by the same operations.
    """
    row_weights, column_weights = source.rows.weights(), source.columns.weights()
    down, across = _touched(row_weights), _touched(column_weights)
    short = None if isinstance(tone.spec, SliceMinMax) else in_16_bits(source.images[:, down, across], fill)
    images: NDArray[np.generic]
    if short is not None:
        images = padded_slices(short, source.padding, fill)
    else:
        # A slice's own minimum and maximum are those of the whole slice.
        whole = isinstance(tone.spec, SliceMinMax)
        grey = (
            tone.grey(source.images)[:, down, across] if whole else tone.grey(source.images[:, down, across])
        )
        images = padded_slices(grey - np.float32(background) if background else grey, source.padding, 0)
    return OnCanvas(
        images,
        padded_slices(np.ascontiguousarray(source.mask[:, down, across]).view(np.uint8), source.padding, 0),
        np.ascontiguousarray(row_weights[:, down]),
        np.ascontiguousarray(column_weights[:, across]),
        tone=None if short is None else tone,
    )


def _turned_field(tone: Tone, background: float, turn: Turn, source: Sliced) -> OnCanvas:
    """Resample here and now, since what is turned is what the canvas shows."""
    rows, columns = source.rows.weights(), source.columns.weights()

    def shown(stack: NDArray[np.float32]) -> NDArray[np.float32]:
        return turn.of(rows @ (stack @ columns.T), beyond=0.0)

    grey = shown(tone.grey(source.images) - np.float32(background)) + np.float32(background)
    mask = shown(source.mask.astype(np.float32)) >= 0.5
    return OnCanvas(
        padded_slices(grey, source.padding, background), padded_slices(mask.view(np.uint8), source.padding, 0)
    )


def in_16_bits(values: NDArray[np.floating], fill: float) -> NDArray[np.int16] | None:
    """The same values as int16, in a new contiguous array; None where they or `fill` are no such numbers."""
    if not (fill.is_integer() and np.iinfo(np.int16).min <= fill):
        return None
    middle = len(values) // 2  # one slice tells most volumes that have others, without a copy of them all
    return None if _short(values[middle : middle + 1]) is None else _short(values)


def _short(values: NDArray[np.floating]) -> NDArray[np.int16] | None:
    low, high = np.iinfo(np.int16).min, np.iinfo(np.int16).max
    if not (low <= values.min() and values.max() <= high):
        return None
    short = values.astype(np.int16, order="C")
    same = short.astype(values.dtype).view(np.uint8) == np.ascontiguousarray(values).view(np.uint8)
    return short if same.all() else None  # by bits: a mask that was multiplied leaves negative zeros


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


def first_equal(images: NDArray[np.generic], mask: NDArray[np.uint8]) -> NDArray[np.intp] | None:
    """For each slice the first one that has its bytes, in image and foreground; None where all differ.

    Padding is equal, air around a brain often, and what a scanner stored twice.

    Args:
        images: `(slice, height, width)`.
        mask: Of the same shape.
    """
    alike: dict[bytes, list[int]] = {}
    for place, (image, inside) in enumerate(
        zip(images[:, ::SAMPLED, ::SAMPLED], mask[:, ::SAMPLED, ::SAMPLED], strict=True)
    ):
        alike.setdefault(image.tobytes() + inside.tobytes(), []).append(place)
    firsts = np.arange(len(images))
    for places in alike.values():
        seen: dict[bytes, int] = {}
        for place in places if len(places) > 1 else ():
            firsts[place] = seen.setdefault(_digest(images[place], mask[place]), place)
    return firsts if (firsts != np.arange(len(firsts))).any() else None


def _digest(*arrays: NDArray[np.generic]) -> bytes:
    whole = hashlib.blake2b(digest_size=32)
    for array in arrays:
        whole.update(np.ascontiguousarray(array).data)
    return whole.digest()
