"""The canvases: fixed rows and columns of pixels for every slice of every volume.

A field canvas shows a field of fixed size in millimetres around the foreground, so that a pixel is the
same length for everybody whatever the in-plane voxel size and field of view were. Resampling is separable,
`rows @ image @ columns.T`, with triangle weights that widen when shrinking (antialias). The others are what
published systems do: they resize to a number of pixels (`resize.py`), or take voxels as they are.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from cache_schema.common.strict import Strict
from extract.slices.sides import Pixels, SidePixels, centred_start, sides

Kernel = Literal[
    "pillow-bilinear",
    "pillow-bicubic",
    "torch-bilinear",
    "torch-bicubic",
    "torch-bilinear-antialias",
    "torch-bicubic-antialias",
]
"""Pillow's widen when they shrink and round to 8 bits where the intensities are 8 bits; torch's are
`interpolate` with `align_corners=False`, in float32 on the device, and what overshoots is kept."""


class FieldCanvas(Strict):
    """A field in millimetres on a canvas of pixels."""

    kind: Literal["field"] = "field"
    field_mm: Annotated[float, Field(ge=10, le=1000)] | Literal["native"] = 224.0
    """Longer side of the field; `native`: the longer in-plane side of the volume, centred on the array."""
    pixels: Pixels = 224
    """Side of the canvas, or its rows and columns."""
    filter: Literal["triangle"] = "triangle"
    centre_depth_mm: float = Field(default=100.0, gt=0)
    """The centre is taken over this depth below the vertex, so that neck and shoulders do not pull it."""
    centre_tail: float = Field(default=0.01, ge=0, lt=0.5)
    """Share of the foreground's profile that is cut off at both ends before the middle is taken."""


class CropCanvas(Strict):
    """Shorter side to `resize`, then the centre `pixels`; poles may be cut."""

    kind: Literal["crop"] = "crop"
    resize: SidePixels = 256
    """Pixels of the shorter side before the crop."""
    pixels: Pixels = 224
    """Side of the crop, or its rows and columns."""
    filter: Kernel = "pillow-bilinear"
    """Whose resize it is, and its kernel."""

    @model_validator(mode="after")
    def _inside(self) -> "CropCanvas":
        if max(sides(self.pixels)) > self.resize:
            raise ValueError(f"the crop of {self.pixels} pixels must fit into {self.resize}")
        return self


class ShorterCanvas(Strict):
    """Shorter side to `resize`, the ratio kept, then a multiple of the patch from the upper left corner.

    So the canvas of a slice depends on its ratio, and a store has one: a volume that comes out otherwise is
    refused, unless it may be cut or padded.
    """

    kind: Literal["shorter"] = "shorter"
    resize: SidePixels = 448
    """Pixels of the shorter side, before the cut to a multiple."""
    pixels: Pixels = 448
    """Side of the store's one canvas, or its rows and columns."""
    multiple: int = Field(default=14, ge=1, le=16384)
    """The backbone's patch."""
    filter: Kernel = "pillow-bicubic"
    """Whose resize it is, and its kernel."""
    unlike: Literal["refuse", "cut_or_pad"] = "refuse"
    """A slice of another ratio; `cut_or_pad` goes on at the lower right with background, or ends there."""

    @model_validator(mode="after")
    def _reachable(self) -> "ShorterCanvas":
        shorter = self.resize - self.resize % self.multiple
        if self.unlike == "refuse" and (
            min(sides(self.pixels)) != shorter or any(side % self.multiple for side in sides(self.pixels))
        ):
            raise ValueError(
                f"the canvas of {self.pixels} pixels cannot come of a shorter side of {self.resize} cut to a "
                f"multiple of {self.multiple}: the shorter side of pixels must be {shorter}, and the longer "
                "a multiple"
            )
        return self


class StretchCanvas(Strict):
    """Each side to its pixels, whatever the ratio was."""

    kind: Literal["stretch"] = "stretch"
    pixels: Pixels = 448
    """Side of the canvas, or its rows and columns."""
    filter: Kernel = "pillow-bilinear"
    """Whose resize it is, and its kernel."""


class CropOrPadCanvas(Strict):
    """The centre of the slice, a voxel a pixel; what is missing is filled.

    Of an odd number to cut or to fill, the larger half is at the upper left, as in torchio.
    """

    kind: Literal["crop_or_pad"] = "crop_or_pad"
    pixels: Pixels = 224
    """Side of the canvas, or its rows and columns, in voxels."""
    fill: Literal["minimum", "zero"] = "minimum"
    """In the volume's own intensities, before they are scaled."""


ResizedCanvas = CropCanvas | ShorterCanvas | StretchCanvas
AnyCanvas = FieldCanvas | CropOrPadCanvas | ResizedCanvas
CanvasSpec = Annotated[AnyCanvas, Field(discriminator="kind")]


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
    source = mask.shape[1:]
    if spec.field_mm == "native":
        field_mm = max(side * size for side, size in zip(source, spacing_mm, strict=True))
        centres = [(side - 1) / 2 for side in source]
    else:
        field_mm = spec.field_mm
        centres = [middle(mask.sum(axis=(0, other)), spec.centre_tail) for other in (2, 1)]
    pixel_mm = field_mm / max(sides(spec.pixels))
    rows, columns = (
        Axis(centre - (pixels - 1) / 2 * pixel_mm / size, pixel_mm / size, side, pixels)
        for centre, size, side, pixels in zip(centres, spacing_mm, source, sides(spec.pixels), strict=True)
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


def crop_or_pad_axes(spec: CropOrPadCanvas, rows: int, columns: int) -> tuple[Axis, Axis]:
    """Row and column sampling of a crop-or-pad canvas."""
    first, second = (
        Axis(float(centred_start(side, pixels)), 1.0, side, pixels)
        for side, pixels in zip((rows, columns), sides(spec.pixels), strict=True)
    )
    return first, second


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
