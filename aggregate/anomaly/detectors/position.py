"""Baseline `position`: the score that the place alone gives, which no detector may fail to beat.

Without labels, all that normals say of a place is how often there is anything: the score is the mean
foreground share of normals at this height, row and column. So it is high deep inside the head and low
outside, where no anomaly can be. (The opposite sign, minus the log of that share, calls a rare place
anomalous; it puts the background on top and is the weaker opponent.) It never sees a token, an
intensity, or the foreground of the slice that it scores.
"""

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from aggregate.anomaly.arithmetic.heights import HEIGHT_BINS, add_by_height, height_bin, smooth
from aggregate.anomaly.detectors.base import Detector, DetectorBase, Reference, SliceBatch
from aggregate.anomaly.detectors.states import expect


class PositionBaselineSpec(DetectorBase):
    """Baseline: what the height of the slice and the place of the patch know alone."""

    baseline: ClassVar[bool] = True

    kind: Literal["position"] = "position"

    def build(self, seed: int) -> "Position":
        """Make the detector of one seed."""
        return Position(self, seed)


class Position(Detector):
    """Keeps the sum of foreground by height, row and column."""

    batch_slices = 16
    sees_tokens = False
    spec: PositionBaselineSpec

    def start(self, reference: Reference) -> None:
        """Prepare empty sums."""
        self._sums = torch.zeros((HEIGHT_BINS, *reference.grid), dtype=torch.float64)
        self._counts = torch.zeros(HEIGHT_BINS, dtype=torch.float64)

    def observe(self, batch: SliceBatch, epoch: int) -> None:
        """Add foreground."""
        add_by_height(self._sums, batch.height_mm, batch.foreground)
        add_by_height(self._counts, batch.height_mm, torch.ones(len(batch)))

    def score(self, batch: SliceBatch) -> Float[Tensor, "slice row col"]:
        """The mean foreground share of normals at the same place."""
        share = smooth(self._sums) / smooth(self._counts)[:, None, None]
        return share[height_bin(batch.height_mm)].float()

    def state(self) -> dict[str, Tensor]:
        """The sums."""
        return {"sums": self._sums, "counts": self._counts}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take sums."""
        grid = tuple(self._sums.shape)
        self._sums, self._counts = (
            value.clone() for value in expect(state, self, sums=grid, counts=(HEIGHT_BINS,))
        )
