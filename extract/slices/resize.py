"""Canvases that are a number of pixels, not of millimetres: to which size, and what of it is shown."""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cache_schema.common.errors import VolumeError
from extract.slices.canvas import Axis, CropCanvas, Kernel, ResizedCanvas, ShorterCanvas, StretchCanvas
from extract.slices.sides import LARGEST_SIDE, sides

_T = TypeVar("_T", bound=np.generic)

PILLOW = {"pillow-bilinear": Image.Resampling.BILINEAR, "pillow-bicubic": Image.Resampling.BICUBIC}


@dataclass(frozen=True, slots=True)
class Resize:
    """What becomes of the slices of one volume."""

    filter: Kernel
    size: tuple[int, int]
    """Rows and columns that the whole slice is resized to."""
    start: tuple[int, int]
    """First row and column of it on the canvas; none is negative."""
    pixels: tuple[int, int]
    """Of the canvas; what lies beyond `size` is background."""

    def box(self) -> tuple[slice, slice]:
        """What of the resized slice is shown."""
        down, across = (
            slice(first, min(first + pixels, size))
            for first, pixels, size in zip(self.start, self.pixels, self.size, strict=True)
        )
        return down, across

    def missing(self) -> tuple[int, int]:
        """Rows below and columns to the right that are background."""
        down, across = self.box()
        return self.pixels[0] - (down.stop - down.start), self.pixels[1] - (across.stop - across.start)


def resize_of(canvas: ResizedCanvas, rows: int, columns: int) -> Resize:
    """What a canvas makes of slices of so many rows and columns; rounded as torchvision rounds.

    Raises:
        VolumeError: If they come out at another canvas than the store's.
    """
    pixels = sides(canvas.pixels)
    if isinstance(canvas, StretchCanvas):
        return Resize(canvas.filter, pixels, (0, 0), pixels)
    short = min(rows, columns)
    height, width = (
        canvas.resize if side == short else int(canvas.resize * side / short) for side in (rows, columns)
    )
    if max(height, width) > LARGEST_SIDE:
        raise VolumeError(
            f"its slices of {rows} x {columns} would be resized to {height} x {width} pixels; "
            f"at most {LARGEST_SIDE} along a side are"
        )
    if isinstance(canvas, CropCanvas):
        start = (_crop_start(height, pixels[0]), _crop_start(width, pixels[1]))
        return Resize(canvas.filter, (height, width), start, pixels)
    _require_like(canvas, (rows, columns), (height, width))
    return Resize(canvas.filter, (height, width), (0, 0), pixels)


def _require_like(canvas: ShorterCanvas, source: tuple[int, int], size: tuple[int, int]) -> None:
    found = (size[0] - size[0] % canvas.multiple, size[1] - size[1] % canvas.multiple)
    if canvas.unlike == "refuse" and found != sides(canvas.pixels):
        rows, columns = sides(canvas.pixels)
        raise VolumeError(
            f"its slices of {source[0]} x {source[1]} come out at {found[0]} x {found[1]} pixels and the "
            f"canvas is {rows} x {columns}: set extract.canvas.pixels to [{found[0]}, {found[1]}], or, for "
            "volumes of several ratios in one store, extract.canvas.unlike to cut_or_pad"
        )


def _crop_start(size: int, pixels: int) -> int:
    """First pixel of a centre crop; halves round to even, as torchvision's do."""
    return round((size - pixels) / 2)


def resized_axes(found: Resize, rows: int, columns: int) -> tuple[Axis, Axis]:
    """Row and column sampling of resized slices that had so many rows and columns."""
    first, second = (
        Axis((start + 0.5) * side / size - 0.5, side / size, side, pixels)
        for start, size, side, pixels in zip(
            found.start, found.size, (rows, columns), found.pixels, strict=True
        )
    )
    return first, second


def resize_with_pillow(images: NDArray[_T], found: Resize, background: float) -> NDArray[_T]:
    """Pillow's resize of each slice, and what is shown of it, `(slice, pixels, pixels)`.

    Args:
        images: `(slice, row, column)`; uint8 is resized in 8 bits, float32 in float32.
        found: Size and box.
        background: What lies beyond the resized slice.
    """
    kernel = PILLOW[found.filter]
    down, across = found.box()
    out = np.full((len(images), *found.pixels), background, dtype=images.dtype)
    shown = out[:, : down.stop - down.start, : across.stop - across.start]
    for index, image in enumerate(images):
        resized = Image.fromarray(np.ascontiguousarray(image)).resize(found.size[::-1], kernel)
        shown[index] = np.asarray(resized)[down, across]
    return out
