"""How the intensities of one volume become grey values: the intensity step with the volume's own numbers."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from extract.slices.intensity import (
    FoundZscore,
    IntensityScaling,
    Percentile,
    SliceMinMax,
    Window,
    Zscore,
    find_zscore,
    quantiles,
    slice_minmax,
    to_range,
    window,
)

UNIT = (0.0, 1.0)
EIGHT_BITS = np.float32(255)


@dataclass(frozen=True, slots=True)
class Tone:
    """Make it with `tone_of`."""

    spec: IntensityScaling
    low: float
    high: float
    """Intensities beyond these are clipped."""
    standard: FoundZscore | None = None
    """Of a z-score."""

    @property
    def span(self) -> tuple[float, float]:
        """The smallest and the largest grey value."""
        if self.standard is not None:
            low, high = self.standard.apply(np.array([self.low, self.high], dtype=np.float32))
            return float(low), float(high)
        return self.spec.to if isinstance(self.spec, Window) else UNIT

    def grey(self, images: NDArray[np.floating]) -> NDArray[np.float32]:
        """Whole slices `(slice, row, column)`, scaled; what is 8 bits becomes multiples of 1/255."""
        if isinstance(self.spec, SliceMinMax):
            return slice_minmax(images.astype(np.float64, copy=False)).astype(np.float32) / EIGHT_BITS
        if self.standard is not None:
            return self.standard.apply(images)
        unit = window(images, self.low, self.high)
        return to_range(unit, self.span) if isinstance(self.spec, Window) else unit

    def for_pillow(self, images: NDArray[np.floating]) -> NDArray[np.uint8] | NDArray[np.float32]:
        """As `grey`, in 8 bits wherever grey values are in [0, 1]: published systems resize 8 bits."""
        if isinstance(self.spec, SliceMinMax):
            return slice_minmax(images.astype(np.float64, copy=False))
        grey = self.grey(images)
        return np.rint(grey * EIGHT_BITS).astype(np.uint8) if self.span == UNIT else grey

    def background(self, fill: float) -> float:
        """The grey value of an intensity, where the whole slice has it."""
        return float(self.grey(np.full((1, 1, 1), fill, dtype=np.float32))[0, 0, 0])


def tone_of(
    spec: IntensityScaling,
    foreground: NDArray[np.floating],
    counted: Callable[[Zscore], NDArray[np.floating]],
) -> Tone:
    """Find what a step needs to know of a volume.

    Args:
        spec: The step.
        foreground: Intensities of the whole foreground, flat.
        counted: The voxels that a z-score counts.

    Raises:
        VolumeError: If they do not vary.
    """
    match spec:
        case Percentile(low=low, high=high):
            first, second = quantiles(foreground, (low, high))
            return Tone(spec, float(first), float(second))
        case Window(low=low, high=high):
            return Tone(spec, low, high)
        case Zscore():
            standard = find_zscore(spec, counted(spec))
            return Tone(spec, standard.low, standard.high, standard)
        case SliceMinMax():
            return Tone(spec, -np.inf, np.inf)
