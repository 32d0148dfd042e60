"""Which slices are kept, and how far below the vertex they lie.

A slice's height is counted in millimetres downwards from the vertex, the highest slice with at least
`min_area_cm2` of foreground: array centres are not brain centres. Coronal slices are counted backwards from
the foremost such slice, sagittal ones leftwards from the rightmost (`cache_schema.format.plane`). Every rule
but `all` and `center of: array` counts inside the foreground's extent, from the lowest to the highest.
"""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from cache_schema.common.errors import VolumeError
from cache_schema.common.strict import Strict
from extract.slices.sides import centred_start


@dataclass(frozen=True, slots=True)
class Extent:
    """Where the foreground lies along the sliced axis."""

    n: int
    """Slices of the volume."""
    low: int
    high: int
    """Lowest and highest slice index with enough foreground, both inclusive."""
    spacing_mm: float
    up: int = 1
    """1 when the index grows upwards; -1 for a stored axis that points down."""

    @property
    def vertex(self) -> int:
        """Index of the topmost slice with enough foreground."""
        return self.high if self.up > 0 else self.low

    def heights(self, index: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
        """Millimetres below the vertex of every slice or of some, `(slice,)`; negative above it."""
        chosen = np.arange(self.n) if index is None else index
        return (self.vertex - chosen.astype(np.float64)) * (self.up * self.spacing_mm)


def find_extent(
    mask: NDArray[np.bool_], area_mm2: float, spacing_mm: float, min_area_cm2: float, up: int = 1
) -> Extent:
    """Lowest and highest slice with at least `min_area_cm2` of foreground.

    Args:
        mask: WithForeground, `(slice, row, column)`.
        area_mm2: Area of one in-plane pixel.
        spacing_mm: Distance of neighbouring slices.
        min_area_cm2: What counts as foreground in a slice.
        up: 1 when slice indices grow upwards, else -1.

    Raises:
        VolumeError: If no slice has that much.
    """
    areas = np.count_nonzero(mask, axis=(1, 2)) * (area_mm2 / 100.0)
    enough = np.flatnonzero(areas >= min_area_cm2)
    if enough.size == 0:
        raise VolumeError(
            f"no slice has {min_area_cm2:g} cm2 of foreground (the largest has {areas.max():.1f} cm2)"
        )
    return Extent(len(areas), int(enough[0]), int(enough[-1]), spacing_mm, up)


class All(Strict):
    """Every slice of the volume."""

    kind: Literal["all"] = "all"

    def bound(self, n: int, spacing_mm: float) -> int:
        """Most slices that can be kept of `n`."""
        return n

    def keep(self, extent: Extent) -> NDArray[np.int64]:
        """Kept slice indices, from low to high."""
        return np.arange(extent.n)


class WithForeground(Strict):
    """Every slice of the foreground's extent."""

    kind: Literal["foreground"] = "foreground"

    def bound(self, n: int, spacing_mm: float) -> int:
        """Most slices that can be kept of `n`."""
        return n

    def keep(self, extent: Extent) -> NDArray[np.int64]:
        """Kept slice indices, from low to high."""
        return np.arange(extent.low, extent.high + 1)


class Band(Strict):
    """Slices whose height lies in a band, all of them or one every `step_mm`."""

    kind: Literal["band"] = "band"
    from_vertex_mm: tuple[float, float]
    """Upper and lower edge, mm below the vertex, both inclusive, e.g. `[10, 130]`."""
    step_mm: float | None = Field(default=None, gt=0)
    """Keep one slice every so many millimetres; by default all, e.g. `2`."""

    @model_validator(mode="after")
    def _ordered(self) -> "Band":
        if self.from_vertex_mm[0] >= self.from_vertex_mm[1]:
            raise ValueError("from_vertex_mm is [upper, lower] in mm below the vertex, the smaller first")
        return self

    def bound(self, n: int, spacing_mm: float) -> int:
        """Most slices that can be kept of `n`."""
        top, bottom = self.from_vertex_mm
        slices = math.floor((bottom - top) / spacing_mm + 1e-6) + 1
        if self.step_mm is None:
            return min(n, slices)
        # Rounding to the nearest slice may reach one beyond the band.
        return min(n, slices + 1, math.floor((bottom - top) / self.step_mm + 1e-6) + 1)

    def keep(self, extent: Extent) -> NDArray[np.int64]:
        """Kept slice indices, from low to high."""
        top, bottom = self.from_vertex_mm
        if self.step_mm is not None:
            return nearest_slices(extent, np.arange(top, bottom + 1e-6, self.step_mm))
        heights = extent.heights()[extent.low : extent.high + 1]
        return extent.low + np.flatnonzero((heights >= top - 1e-6) & (heights <= bottom + 1e-6))


class Center(Strict):
    """The `n` slices in the middle of the foreground's extent, or of the array."""

    kind: Literal["center"] = "center"
    n: int = Field(ge=1)
    """How many slices, e.g. `50`."""
    of: Literal["foreground", "array"] = "foreground"
    """What they are the middle of: the foreground's extent, or the array whatever it shows."""
    short: Literal["clip", "wrap"] = "clip"
    """A volume with fewer slices gives what it has, or wraps as a Python slice with a negative start does."""

    def bound(self, n: int, spacing_mm: float) -> int:
        """Most slices that can be kept of `n`."""
        return min(n, self.n)

    def keep(self, extent: Extent) -> NDArray[np.int64]:
        """Kept slice indices, from low to high."""
        low, high = (0, extent.n - 1) if self.of == "array" else (extent.low, extent.high)
        inside = np.arange(low, high + 1)
        start = len(inside) // 2 - self.n // 2
        if self.short == "wrap":
            return inside[start : start + self.n]
        return inside[max(start, 0) : max(start + self.n, 0)]


class Uniform(Strict):
    """`n` slices spread evenly over the foreground's extent; all of them where it has fewer."""

    kind: Literal["uniform"] = "uniform"
    n: int = Field(ge=1)
    """How many slices, e.g. `24`."""

    def bound(self, n: int, spacing_mm: float) -> int:
        """Most slices that can be kept of `n`."""
        return min(n, self.n)

    def keep(self, extent: Extent) -> NDArray[np.int64]:
        """Kept slice indices, from low to high: the middle slice of each of `n` equal parts."""
        count = extent.high - extent.low + 1
        n = min(self.n, count)
        return extent.low + (2 * np.arange(n) + 1) * count // (2 * n)


class Every(Strict):
    """From the vertex down, the slice nearest to every `step_mm`."""

    kind: Literal["every"] = "every"
    step_mm: float = Field(gt=0)
    """Millimetres between two slices, e.g. `4`."""

    def bound(self, n: int, spacing_mm: float) -> int:
        """Most slices that can be kept of `n`."""
        return min(n, math.floor((n - 1) * spacing_mm / self.step_mm + 1e-6) + 1)

    def keep(self, extent: Extent) -> NDArray[np.int64]:
        """Kept slice indices, from low to high."""
        depth = (extent.high - extent.low) * extent.spacing_mm
        return nearest_slices(extent, np.arange(0.0, depth + 1e-6, self.step_mm))


class CropOrPad(Strict):
    """The `n` central slices of the array; what is missing is padded with slices of background.

    Of an odd number to cut or to pad, the larger half is at the low end, as in torchio. A slice that is
    padded is stored like any other, under an index that the volume does not have: below 0, or from its
    number of slices on.
    """

    kind: Literal["crop_or_pad"] = "crop_or_pad"
    n: int = Field(ge=1, le=4096)
    """How many slices, e.g. `32`."""

    def bound(self, n: int, spacing_mm: float) -> int:
        """Slices that are kept, whatever `n` is."""
        return self.n

    def keep(self, extent: Extent) -> NDArray[np.int64]:
        """Kept slice indices, from low to high."""
        return centred_start(extent.n, self.n) + np.arange(self.n)


SliceRule = Annotated[
    All | WithForeground | Band | Center | Uniform | Every | CropOrPad, Field(discriminator="kind")
]


def nearest_slices(extent: Extent, heights_mm: NDArray[np.float64]) -> NDArray[np.int64]:
    """Indices of the slices nearest to the given heights, once each, inside the extent, from low to high."""
    steps = np.floor(heights_mm / extent.spacing_mm + 0.5).astype(np.int64)
    index = extent.vertex - extent.up * steps
    return np.unique(index[(index >= extent.low) & (index <= extent.high)])
