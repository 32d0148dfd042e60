"""Count the voxels of one volume by score, block by block, as the map is interpolated."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from aggregate.anomaly.maps.placement import Placement, native_slices
from aggregate.anomaly.measure.histogram import Bins, VoxelTally
from aggregate.anomaly.measure.regions import Ground, Region

LESION_OVERLAP = 0.1
"""A lesion is found when at least this share of its measured voxels is called: one voxel alone would let a
map that is a little too wide find everything."""


def tally_volume(
    scores: NDArray[np.float32],
    place: Placement,
    ground: Ground,
    bins: Bins,
    thresholds: Sequence[float] = (),
) -> dict[Region, VoxelTally]:
    """Count one volume's voxels in every region.

    Args:
        scores: `(slice, row, col)` over the kept slices.
        place: Of the scores, with their smoothing.
        ground: The volume's truth.
        bins: The same for every volume of a detector.
        thresholds: At which called voxels and found lesions are counted, e.g. from held-out normals.
    """
    tallies = {region: _Counting(ground, region, bins, thresholds) for region in ground.measured}
    done = 0
    for positions, values in native_slices(scores, place):
        part = slice(done, done + len(positions))
        index = bins.index(values).reshape(values.shape)
        for counting in tallies.values():
            counting.add(part, values, index)
        done += len(positions)
    return {region: counting.tally() for region, counting in tallies.items()}


class _Counting:
    """The counts of one region while the blocks go by."""

    def __init__(self, ground: Ground, region: Region, bins: Bins, thresholds: Sequence[float]) -> None:
        """Start from nothing."""
        self.ground, self.measured = ground, ground.measured[region]
        self.hidden = ground.hidden(region)
        self.sizes = ground.sizes(region)
        self.thresholds = thresholds
        self.every = np.zeros(len(bins), dtype=np.int64)
        self.lesion = np.zeros(len(bins), dtype=np.int64)
        self.weight = np.zeros(len(bins))
        self.called = np.zeros((len(thresholds), 2), dtype=np.int64)
        self.overlap = np.zeros((len(thresholds), len(self.sizes)), dtype=np.int64)

    def add(self, part: slice, values: NDArray[np.float32], index: NDArray[np.intp]) -> None:
        """Count one block of slices."""
        measured, labels = self.measured[part], self.ground.labels[part]
        n_bins = len(self.every)
        inside = index[measured]
        self.every += np.bincount(inside, minlength=n_bins)
        sick = (labels > 0) & measured
        own, place = labels[sick], index[sick]
        self.lesion += np.bincount(place, minlength=n_bins)
        self.weight += np.bincount(place, weights=1 / self.sizes[own], minlength=n_bins)
        shown, lesion_values = values[measured], values[sick]
        for number, threshold in enumerate(self.thresholds):
            hit = lesion_values >= threshold
            called = int(np.count_nonzero(shown >= threshold))
            self.called[number] += called - int(hit.sum()), int(hit.sum())
            self.overlap[number] += np.bincount(own[hit], minlength=len(self.sizes))

    def tally(self) -> VoxelTally:
        """The finished counts."""
        there = self.sizes > 0
        sizes, called = self.sizes[there], self.overlap[:, there]
        return VoxelTally(
            normal=self.every - self.lesion,
            lesion=self.lesion,
            weight=self.weight,
            n_lesions=int(there.sum()),
            called=self.called,
            found=(called >= LESION_OVERLAP * sizes).sum(axis=1),
            overlap=(called / sizes).sum(axis=1),
            hidden=self.hidden,
        )
