"""Intensities to `[0, 1]` (or to the 8 bits that Pillow resizes)."""

from collections.abc import Sequence
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
    high: float = Field(default=99.5, ge=0, le=100)

    @model_validator(mode="after")
    def _ordered(self) -> "Percentile":
        if self.low >= self.high:
            raise ValueError(f"low {self.low:g} must be smaller than high {self.high:g}")
        return self


class SliceMinMax(Strict):
    """Every slice by its own minimum and maximum, truncated to 8 bits, as DinoAtten3D releases it."""

    kind: Literal["slice_minmax"] = "slice_minmax"


IntensityScaling = Annotated[Percentile | SliceMinMax, Field(discriminator="kind")]


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


def slice_minmax(images: NDArray[np.float64]) -> NDArray[np.uint8]:
    """`255 (x - min) / (max - min + 1e-5)` of each slice in float64, truncated, `(slice, row, column)`."""
    out = np.empty(images.shape, dtype=np.uint8)
    for index, image in enumerate(images):
        low, high = image.min(), image.max()
        out[index] = (255 * (image - low) / (high - low + 1e-5)).astype(np.uint8)
    return out
