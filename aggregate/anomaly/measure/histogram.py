"""Counts of voxels by score on fixed edges: all that the pixel metrics need, in memory that does not grow.

Edges are fixed before the first voxel, from the token scores of all volumes that will be measured: an
interpolated (and smoothed) map never leaves the range of its tokens, so nothing falls off either end.
Tallies on the same edges add up, so volumes, participants and machines merge in any order.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cache_schema.common.errors import SlicecacheError

SCORE_BINS = 65_536
"""Equally wide ones err by up to 2e-5 (area under the curve, 17 million pixels)."""

CROWD = 0.05
"""Bins are equally wide where nine tenths of the scores fill this share of the range: 3,277 bins."""


@dataclass(frozen=True, slots=True)
class Bins:
    """Consecutive intervals of scores; a score on an edge belongs to the upper one."""

    edges: NDArray[np.float64]
    """`(bin - 1,)`: inner edges, ascending; the outermost bins are open."""
    linear: tuple[float, float] | None = None
    """The range, where the bins are equally wide: then a bin is found by a product, not a search."""

    def __len__(self) -> int:
        return len(self.edges) + 1

    def index(self, scores: NDArray[np.floating]) -> NDArray[np.intp]:
        """The bin of every score, flattened."""
        flat = scores.ravel()
        if self.linear is None:
            return np.searchsorted(self.edges, flat, side="right")
        low, high = self.linear
        place = (flat - flat.dtype.type(low)) * flat.dtype.type(len(self) / (high - low))
        # Rounding may move a score at an edge by one bin, never past another score.
        return np.clip(place, 0, len(self) - 1).astype(np.intp)

    def lower_edge(self, index: int) -> float:
        """The lowest score of a bin; minus infinity for the first."""
        return float(self.edges[index - 1]) if index else -np.inf

    def coarse(self, factor: int) -> "Bins":
        """Every `factor` neighbours as one bin, exactly nested; the last may hold fewer."""
        return Bins(self.edges[factor - 1 :: factor])


def linear_bins(low: float, high: float, count: int = SCORE_BINS) -> Bins:
    """Equally wide bins from the lowest to the highest score; one bin where they are equal.

    Raises:
        SlicecacheError: If the range is not finite or upside down.
    """
    if not (np.isfinite(low) and np.isfinite(high) and low <= high):
        raise SlicecacheError(f"scores from {low!r} to {high!r}: a finite range is expected")
    # Closer together than float32 can part, all scores are the same one.
    if np.float32(high) - np.float32(low) <= np.spacing(np.float32(max(abs(low), abs(high)))) * 4:
        return Bins(np.array([]))
    return Bins(np.linspace(low, high, count + 1)[1:-1], (float(low), float(high)))


def score_bins(scores: NDArray[np.floating], count: int = SCORE_BINS) -> Bins:
    """Bins that suit the scores: equally wide, or half of them at quantiles where a few scores lie far out.

    Equally wide bins resolve the few high scores that average precision hangs on, and are found by a
    product; where outliers would press the crowd, on which AUROC hangs, into few of them, the quantiles part
    it (four times slower to find).

    Args:
        scores: Token scores of every volume that will be measured, any shape.
        count: Bins, at most; ties among the quantiles make fewer.
    """
    flat = np.asarray(scores, dtype=np.float64).ravel()
    lowest, low, high, highest = np.quantile(flat, [0.0, 0.05, 0.95, 1.0])
    even = linear_bins(float(lowest), float(highest), count)
    if len(even) == 1 or high - low >= CROWD * (highest - lowest):
        return even
    linear = linear_bins(float(lowest), float(highest), count // 2)
    quantiles = np.quantile(flat, np.linspace(0, 1, count - count // 2 + 1)[1:-1])
    return Bins(np.unique(np.concatenate([linear.edges, quantiles])))


def exact_bins(scores: NDArray[np.floating]) -> Bins:
    """One bin per distinct score: every metric is exact, for data that fit into memory."""
    return Bins(np.unique(scores)[1:].astype(np.float64))


@dataclass(frozen=True, slots=True)
class VoxelTally:
    """Voxels of some volumes, counted by score."""

    normal: NDArray[np.int64]
    """`(bin,)`: voxels without a lesion."""
    lesion: NDArray[np.int64]
    """`(bin,)`: lesion voxels."""
    weight: NDArray[np.float64]
    """`(bin,)`: sum over lesion voxels of 1 / voxels of their lesion."""
    n_lesions: int
    """Connected lesions with at least one measured voxel."""
    called: NDArray[np.int64]
    """`(threshold, 2)`: normal and lesion voxels that score at least the threshold, counted exactly."""
    found: NDArray[np.int64]
    """`(threshold,)`: lesions that are found at the threshold."""
    overlap: NDArray[np.float64]
    """`(threshold,)`: sum over lesions of the share of their voxels that score at least the threshold."""
    hidden: int
    """Lesion voxels that are not measured: off the kept slices, the canvas or the region."""

    def __add__(self, other: "VoxelTally") -> "VoxelTally":
        """Merge with the tally of other volumes.

        Raises:
            SlicecacheError: If bins or thresholds differ in number.
        """
        if self.normal.shape != other.normal.shape or self.called.shape != other.called.shape:
            raise SlicecacheError(
                f"tallies on {len(self.normal)} and {len(other.normal)} bins, with {len(self.called)} and "
                f"{len(other.called)} thresholds, do not add up"
            )
        return VoxelTally(
            self.normal + other.normal,
            self.lesion + other.lesion,
            self.weight + other.weight,
            self.n_lesions + other.n_lesions,
            self.called + other.called,
            self.found + other.found,
            self.overlap + other.overlap,
            self.hidden + other.hidden,
        )

    def coarse(self, factor: int) -> "VoxelTally":
        """On the bins of `Bins.coarse`; what keeps a tally per participant small."""
        starts = np.arange(0, len(self.normal), factor)
        normal, lesion, weight = (
            np.add.reduceat(counts, starts) for counts in (self.normal, self.lesion, self.weight)
        )
        counted = (self.n_lesions, self.called, self.found, self.overlap, self.hidden)
        return VoxelTally(normal, lesion, weight, *counted)


def empty_tally(bins: Bins, thresholds: int) -> VoxelTally:
    """Nothing counted yet: what a sum of tallies starts from."""
    return VoxelTally(
        np.zeros(len(bins), dtype=np.int64),
        np.zeros(len(bins), dtype=np.int64),
        np.zeros(len(bins)),
        0,
        np.zeros((thresholds, 2), dtype=np.int64),
        np.zeros(thresholds, dtype=np.int64),
        np.zeros(thresholds),
        0,
    )
