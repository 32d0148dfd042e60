"""Intensities to `[0, 1]`, to the 8 bits that Pillow resizes, or to what a published system feeds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from cache_schema.common.errors import VolumeError
from cache_schema.common.strict import Strict

QUANTILES = (0.5, 5.0, 25.0, 50.0, 75.0, 95.0, 99.5)
"""Percentiles of the foreground that every record holds."""


class Percentile(Strict):
    """One window per volume: two percentiles of the foreground become 0 and 1, what is beyond is clipped."""

    kind: Literal["percentile"] = "percentile"
    low: float = Field(default=0.5, ge=0, le=100)
    """Percentile of the foreground that becomes 0."""
    high: float = Field(default=99.5, ge=0, le=100)
    """Percentile of the foreground that becomes 1."""

    @model_validator(mode="after")
    def _ordered(self) -> "Percentile":
        if self.low >= self.high:
            raise ValueError(f"low {self.low:g} must be smaller than high {self.high:g}")
        return self


class SliceMinMax(Strict):
    """Every slice by its own minimum and maximum, truncated to 8 bits, as DinoAtten3D releases it."""

    kind: Literal["slice_minmax"] = "slice_minmax"


class Window(Strict):
    """A window in the volume's own units, as of CT: `low` and `high` become the ends of `to`, clipped."""

    kind: Literal["window"] = "window"
    low: float
    """Lower edge, in the volume's own units, e.g. `-20`."""
    high: float
    """Upper edge, in the volume's own units, e.g. `100`."""
    to: tuple[float, float] = (0.0, 1.0)
    """What the two edges become."""

    @model_validator(mode="after")
    def _ordered(self) -> "Window":
        if self.low >= self.high or self.to[0] >= self.to[1]:
            raise ValueError(f"[{self.low:g}, {self.high:g}] to {list(self.to)} does not increase")
        return self


class Zscore(Strict):
    """Clipped to two percentiles, less the mean, by the standard deviation (n - 1) of what was clipped."""

    kind: Literal["zscore"] = "zscore"
    low: float = Field(default=0.5, ge=0, le=100)
    """Percentile below which intensities are clipped."""
    high: float = Field(default=99.5, ge=0, le=100)
    """Percentile above which intensities are clipped."""
    over: Literal["canvas", "volume", "foreground"] = "volume"
    """Whose voxels are counted; `canvas`: those that a crop-or-pad canvas shows on the kept slices, with
    what is filled in."""
    above: float | None = None
    """Only voxels above this are counted, e.g. `0`."""

    @model_validator(mode="after")
    def _ordered(self) -> "Zscore":
        if self.low >= self.high:
            raise ValueError(f"low {self.low:g} must be smaller than high {self.high:g}")
        return self


IntensityScaling = Annotated[Percentile | SliceMinMax | Window | Zscore, Field(discriminator="kind")]


def quantiles(values: NDArray[np.floating], percents: Sequence[float]) -> NDArray[np.float64]:
    """Exact percentiles with linear interpolation between order statistics, `(percent,)`.

    Args:
        values: Any shape, not empty, finite.
        percents: Between 0 and 100.
    """
    flat = values.ravel()
    position = np.asarray(percents, dtype=np.float64) / 100.0 * (flat.size - 1)
    below = np.floor(position).astype(np.int64)
    above = np.minimum(below + 1, flat.size - 1)
    ordered = np.partition(flat, np.unique(np.concatenate([below, above])))
    first, second = ordered[below].astype(np.float64), ordered[above].astype(np.float64)
    return first + (second - first) * (position - below)


def masked_values(data: NDArray[np.floating], mask: NDArray[np.bool_]) -> NDArray[np.floating]:
    """The masked voxels, flat and in memory order, which is five times faster for column-major files."""
    return data.T[mask.T] if data.flags.f_contiguous else data[mask]


def quantile_names(percents: Sequence[float], values: NDArray[np.float64]) -> dict[str, float]:
    """Quantiles by name, `{"q0.5": ..., "q25": ...}`."""
    return {f"q{percent:g}": float(value) for percent, value in zip(percents, values, strict=True)}


def window(images: NDArray[np.floating], low: float, high: float) -> NDArray[np.float32]:
    """`clip((x - low) / (high - low), 0, 1)` in float32, as a new contiguous array of the same shape.

    Raises:
        VolumeError: If the window is empty, as it is for a mask or a label image.
    """
    scale = np.float32(high - low)
    if not scale > 0:
        raise VolumeError(f"both percentiles of the foreground are {low:g}: is this a mask or a label image?")
    out = np.ascontiguousarray(images, dtype=np.float32)
    if np.shares_memory(out, images):
        out = out.copy()
    np.clip(out, np.float32(low), np.float32(high), out=out)  # first: outliers must not overflow
    out -= np.float32(low)
    out /= scale
    return np.clip(out, 0.0, 1.0, out=out)


@dataclass(frozen=True, slots=True)
class FoundZscore:
    """What `Zscore` found in one volume."""

    low: float
    high: float
    mean: float
    deviation: float

    def apply(self, images: NDArray[np.floating]) -> NDArray[np.float32]:
        """`(clip(x, low, high) - mean) / deviation` in float32, as a new array of the same shape."""
        out = np.clip(images, np.float32(self.low), np.float32(self.high)).astype(np.float32, order="C")
        out -= np.float32(self.mean)
        out /= np.float32(self.deviation)
        return out


def find_zscore(spec: Zscore, values: NDArray[np.floating]) -> FoundZscore:
    """Percentiles, mean and standard deviation of the values that count, in float64.

    Raises:
        VolumeError: If none counts, or they do not vary.
    """
    counted = values.ravel() if spec.above is None else values[values > spec.above]
    if counted.size == 0:
        raise VolumeError(f"no voxel is above {spec.above:g}, which intensity.above asks for")
    low, high = quantiles(counted, (spec.low, spec.high))
    clipped = np.clip(counted, np.float32(low), np.float32(high))
    mean = float(clipped.mean(dtype=np.float64))
    deviation = float(clipped.std(dtype=np.float64, ddof=1)) if clipped.size > 1 else 0.0
    if not deviation > 0:
        raise VolumeError(
            f"between their percentiles all voxels are {low:g}: is this a mask or a label image?"
        )
    return FoundZscore(float(low), float(high), mean, deviation)


def to_range(unit: NDArray[np.float32], ends: tuple[float, float]) -> NDArray[np.float32]:
    """`[0, 1]` to other ends, in place."""
    if ends != (0.0, 1.0):
        unit *= np.float32(ends[1] - ends[0])
        unit += np.float32(ends[0])
    return unit


def slice_minmax(images: NDArray[np.float64]) -> NDArray[np.uint8]:
    """`255 (x - min) / (max - min + 1e-5)` of each slice in float64, truncated, `(slice, row, column)`."""
    out = np.empty(images.shape, dtype=np.uint8)
    for index, image in enumerate(images):
        low, high = image.min(), image.max()
        out[index] = (255 * (image - low) / (high - low + 1e-5)).astype(np.uint8)
    return out
