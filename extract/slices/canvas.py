"""The canvas: one fixed square of pixels for every slice of every volume.

A field canvas shows a square of fixed size in millimetres around the foreground, so that a pixel is the
same length for everybody whatever the in-plane voxel size and field of view were. Resampling is separable,
`rows @ image @ columns.T`, with triangle weights that widen when shrinking (antialias). A crop canvas is
what torchvision's Resize and CenterCrop do with Pillow.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field, model_validator

from cache_schema.common.strict import Strict


class FieldCanvas(Strict):
    """A square field in millimetres on a square of pixels."""

    kind: Literal["field"] = "field"
    field_mm: Annotated[float, Field(ge=10, le=1000)] | Literal["native"] = 224.0
    """Side of the field; `native`: the volume's own, its longer in-plane side, centred on the array."""
    pixels: int = Field(default=224, ge=14)
    filter: Literal["triangle"] = "triangle"
    centre_depth_mm: float = Field(default=100.0, gt=0)
    """The centre is taken over this depth below the vertex, so that neck and shoulders do not pull it."""
    centre_tail: float = Field(default=0.01, ge=0, lt=0.5)
    """Share of the foreground's profile that is cut off at both ends before the middle is taken."""


class CropCanvas(Strict):
    """Shorter side to `resize` by Pillow's bilinear filter, then the centre `pixels`; poles may be cut."""

    kind: Literal["crop"] = "crop"
    resize: int = Field(default=256, ge=14)
    pixels: int = Field(default=224, ge=14)
    filter: Literal["pillow-bilinear"] = "pillow-bilinear"

    @model_validator(mode="after")
    def _inside(self) -> "CropCanvas":
        if self.pixels > self.resize:
            raise ValueError(f"the crop of {self.pixels} pixels must fit into {self.resize}")
        return self


CanvasSpec = Annotated[FieldCanvas | CropCanvas, Field(discriminator="kind")]


@dataclass(frozen=True, slots=True)
class Axis:
    """How a canvas axis samples a stack axis: `source = origin + step * canvas index`, in pixel centres."""

    origin: float
    step: float
    source: int
    """Pixels of the stack along this axis."""
    pixels: int
    """Pixels of the canvas."""

    def weights(self) -> NDArray[np.float32]:
        """Triangle weights `(canvas, source)`, computed in float64; see `triangle_weights`."""
        return triangle_weights(self.origin, self.step, self.source, self.pixels)

    def shown(self) -> slice:
        """The stack pixels whose centres lie on the canvas."""
        first = np.ceil(self.origin - 0.5 * self.step)
        last = np.floor(self.origin + (self.pixels - 0.5) * self.step)
        return slice(int(np.clip(first, 0, self.source)), int(np.clip(last + 1, 0, self.source)))


def triangle_weights(origin: float, step: float, source: int, pixels: int) -> NDArray[np.float32]:
    """Weights `(canvas, source)` of a triangle filter of half width `max(1, step)` source pixels.

    A row sums to 1 where its centre lies inside the stored image (which reaches half a pixel beyond its
    outermost centres) and is all zero elsewhere: outside the image is background.
    """
    centre = origin + step * np.arange(pixels, dtype=np.float64)
    distance = np.abs(centre[:, None] - np.arange(source, dtype=np.float64)[None, :])
    weights = np.maximum(0.0, 1.0 - distance / max(1.0, step))
    total = weights.sum(axis=1, keepdims=True)
    inside = (centre >= -0.5) & (centre <= source - 0.5)
    normalised = np.divide(weights, total, out=np.zeros_like(weights), where=(total > 0) & inside[:, None])
    return normalised.astype(np.float32)


def field_axes(
    spec: FieldCanvas, mask: NDArray[np.bool_], spacing_mm: tuple[float, float]
) -> tuple[Axis, Axis]:
    """Row and column sampling of a field canvas.

    Args:
        spec: Field and pixels.
        mask: Foreground `(slice, row, column)` that the field is centred on.
        spacing_mm: Pixel size along rows and columns of the stack.
    """
    sides = mask.shape[1:]
    if spec.field_mm == "native":
        field_mm = max(side * size for side, size in zip(sides, spacing_mm, strict=True))
        centres = [(side - 1) / 2 for side in sides]
    else:
        field_mm = spec.field_mm
        centres = [middle(mask.sum(axis=(0, other)), spec.centre_tail) for other in (2, 1)]
    pixel_mm = field_mm / spec.pixels
    rows, columns = (
        Axis(centre - (spec.pixels - 1) / 2 * pixel_mm / size, pixel_mm / size, side, spec.pixels)
        for centre, size, side in zip(centres, spacing_mm, sides, strict=True)
    )
    return rows, columns


def middle(profile: NDArray[np.integer], tail: float) -> float:
    """Middle between the two tails of a profile of pixel counts, as a fractional pixel index.

    The ends are where a share `tail` of the counts lies beyond, interpolated inside a pixel, so that the
    middle hardly depends on the voxel size and not at all on a stray voxel or the field of view.
    """
    total = np.concatenate([[0.0], np.cumsum(profile, dtype=np.float64)])
    edges = np.arange(len(total)) - 0.5
    # Points amid a flat stretch say nothing about where the counts begin.
    rises = np.diff(total) > 0
    turning = np.concatenate([rises, [False]]) | np.concatenate([[False], rises])
    tails = [tail * total[-1], (1 - tail) * total[-1]]
    low, high = np.interp(tails, total[turning], edges[turning])
    return float(low + high) / 2


def crop_axes(spec: CropCanvas, rows: int, columns: int) -> tuple[Axis, Axis]:
    """Row and column sampling of a crop canvas, with the rounding of torchvision's Resize and CenterCrop."""
    short = min(rows, columns)
    sizes = [spec.resize if side == short else int(spec.resize * side / short) for side in (rows, columns)]
    first, second = (
        Axis((_crop_start(size, spec.pixels) + 0.5) * side / size - 0.5, side / size, side, spec.pixels)
        for size, side in zip(sizes, (rows, columns), strict=True)
    )
    return first, second


def resize_and_crop(images: NDArray[np.uint8], spec: CropCanvas) -> NDArray[np.uint8]:
    """Pillow's bilinear resize of the shorter side, then the centre, `(slice, pixels, pixels)`."""
    _, rows, columns = images.shape
    short = min(rows, columns)
    height, width = (
        spec.resize if side == short else int(spec.resize * side / short) for side in (rows, columns)
    )
    top, left = _crop_start(height, spec.pixels), _crop_start(width, spec.pixels)
    box = (slice(top, top + spec.pixels), slice(left, left + spec.pixels))
    out = np.empty((len(images), spec.pixels, spec.pixels), dtype=np.uint8)
    for index, image in enumerate(images):
        resized = Image.fromarray(np.ascontiguousarray(image)).resize(
            (width, height), Image.Resampling.BILINEAR
        )
        out[index] = np.asarray(resized)[box]
    return out


def _crop_start(size: int, pixels: int) -> int:
    """First pixel of a centre crop; halves round to even, as torchvision's do."""
    return round((size - pixels) / 2)


def canvas_to_native(to_native: NDArray[np.float64], rows: Axis, columns: Axis) -> NDArray[np.float64]:
    """3x4 matrix from `(row, column, slice index, 1)` on the canvas to native voxel indices.

    Args:
        to_native: From the stack to native voxels (see `extract.orient`).
        rows: Sampling along rows.
        columns: Sampling along columns.
    """
    to_stack = np.diag([rows.step, columns.step, 1.0, 1.0])
    to_stack[:2, 3] = rows.origin, columns.origin
    return (to_native @ to_stack)[:3]


def outside_share(mask: NDArray[np.bool_], rows: Axis, columns: Axis) -> float:
    """Share of a foreground `(slice, row, column)` that the canvas does not show; 0 for an empty one."""
    total = np.count_nonzero(mask)
    shown = np.count_nonzero(mask[:, rows.shown(), columns.shown()])
    return (total - shown) / total if total else 0.0
