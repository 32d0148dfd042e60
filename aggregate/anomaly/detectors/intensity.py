"""Baseline `intensity`: |z| of the patch's mean intensity among normals of the same height.

Mean and standard deviation are over foreground patches, weighted by their share of foreground. Where a
slice has no foreground the score is 0: darkness outside the head is no finding.
"""

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from aggregate.anomaly.arithmetic.heights import HEIGHT_BINS, add_by_height, height_bin, smooth
from aggregate.anomaly.detectors.base import Detector, DetectorBase, Reference, SliceBatch
from aggregate.anomaly.detectors.states import expect

LEAST_SD = 1e-3
"""Of intensities that are scaled to about 0 to 1; where normals do not vary, nothing is divided by 0."""


class IntensityBaselineSpec(DetectorBase):
    """Baseline: how far the patch's mean intensity is from that of normals at this height."""

    baseline: ClassVar[bool] = True

    kind: Literal["intensity"] = "intensity"

    def build(self, seed: int) -> "Intensity":
        """Make the detector of one seed."""
        return Intensity(self, seed)


class Intensity(Detector):
    """Keeps weight, sum and sum of squares by height."""

    batch_slices = 16
    sees_tokens = False
    spec: IntensityBaselineSpec

    def start(self, reference: Reference) -> None:
        """Prepare empty sums."""
        self._sums = torch.zeros((HEIGHT_BINS, 3), dtype=torch.float64)

    def observe(self, batch: SliceBatch, epoch: int) -> None:
        """Add intensities."""
        weight, value = batch.foreground.double(), batch.intensity.double()
        moments = torch.stack([weight, weight * value, weight * value * value], dim=-1)
        add_by_height(self._sums, batch.height_mm, moments.sum((1, 2)))

    def score(self, batch: SliceBatch) -> Float[Tensor, "slice row col"]:
        """How many standard deviations from the mean, in the foreground."""
        weight, total, squares = smooth(self._sums)[height_bin(batch.height_mm)].unbind(1)
        weight = weight.clamp_min(1e-300)
        mean = total / weight
        sd = (squares / weight - mean * mean).clamp_min(0).sqrt().clamp_min(LEAST_SD)
        z = (batch.intensity - mean[:, None, None]).abs() / sd[:, None, None]
        return torch.where(batch.foreground > 0, z.float(), 0.0)

    def state(self) -> dict[str, Tensor]:
        """The sums."""
        return {"sums": self._sums}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take sums."""
        (sums,) = expect(state, self, sums=(HEIGHT_BINS, 3))
        self._sums = sums.clone()
