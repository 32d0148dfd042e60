"""Metrics of voxels and lesions from tallies; every distinct bin is one threshold, ties are one step.

Average precision is the sum over steps and no trapezoid, which interpolates where nobody can be; AUPRO is
the mean overlap of lesions over false positive rates up to a limit, divided by it (Bergmann et al. 2020),
so that it lies in [0, 1]. What the voxels at hand do not define is NaN. The curves take any leading axes,
so that resampled counts go through the same lines (see `pixel_intervals`).
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, precision_recall_curve

from aggregate.anomaly.measure.histogram import Bins, VoxelTally
from aggregate.common.arrays import Floats

Counts = NDArray[np.float64] | NDArray[np.int64]
FPR_LIMIT = 0.3
"""AUPRO ends at this false positive rate."""


def divided(numerator: Counts, denominator: Counts) -> Floats:
    """A quotient, NaN where the denominator is 0."""
    top, bottom = np.broadcast_arrays(np.asarray(numerator, np.float64), np.asarray(denominator, np.float64))
    return np.divide(top, bottom, out=np.full(top.shape, np.nan), where=bottom != 0)


def image_metrics(y: NDArray[np.bool_], scores: NDArray[np.floating]) -> dict[str, float]:
    """`ap` and `f1_max` of slices or volumes: average precision, and the best F1 of any threshold.

    Args:
        y: Whether each shows a lesion; some do.
        scores: One each.
    """
    precision, recall, _ = precision_recall_curve(y, scores)
    f1 = divided(2 * precision * recall, precision + recall)
    return {"ap": float(average_precision_score(y, scores)), "f1_max": float(np.nanmax(f1))}


def at_least(counts: Counts) -> Floats:
    """`(..., bin)`: how many score at least the bin, from the highest bin to the lowest."""
    return np.cumsum(np.asarray(counts[..., ::-1], dtype=np.float64), axis=-1)


def binned_auroc(normal: Counts, lesion: Counts) -> Floats:
    """Probability that a lesion voxel scores above a normal one, ties counted half.

    Args:
        normal: `(..., bin)`.
        lesion: `(..., bin)`.
    """
    below = np.cumsum(normal, axis=-1, dtype=np.float64) - normal
    wins = (lesion * (below + np.asarray(normal) / 2)).sum(axis=-1)
    return divided(wins, np.asarray(lesion.sum(-1), np.float64) * np.asarray(normal.sum(-1), np.float64))


def average_precision(normal: Counts, lesion: Counts) -> Floats:
    """Precision at each step, weighted by the recall that the step adds.

    Args:
        normal: `(..., bin)`.
        lesion: `(..., bin)`.
    """
    hits, alarms = at_least(lesion), at_least(normal)
    precision = np.nan_to_num(divided(hits, hits + alarms))
    gained = np.asarray(lesion[..., ::-1], dtype=np.float64)
    return np.where(normal.sum(-1) > 0, divided((gained * precision).sum(axis=-1), gained.sum(-1)), np.nan)


def aupro(normal: Counts, weight: Counts, n_lesions: Counts, limit: float = FPR_LIMIT) -> Floats:
    """Area below the mean overlap of lesions, up to a false positive rate, as a share of that rate.

    Args:
        normal: `(..., bin)`.
        weight: `(..., bin)`: sum of 1 / voxels of the lesion over lesion voxels.
        n_lesions: `(...)`.
        limit: False positive rate at which the area ends; the curve is cut there by a straight line.
    """
    total = np.asarray(normal.sum(-1), dtype=np.float64)
    rate = _from_zero(divided(at_least(normal), total[..., None]))
    overlap = _from_zero(divided(at_least(weight), np.asarray(n_lesions, dtype=np.float64)[..., None]))
    width = np.diff(rate, axis=-1)
    inside = np.clip(limit - rate[..., :-1], 0, width)
    rise = np.diff(overlap, axis=-1) * np.nan_to_num(divided(inside, width))
    area = (inside * (overlap[..., :-1] + rise / 2)).sum(axis=-1)
    return np.asarray(area / limit, dtype=np.float64)


def _from_zero(curve: Floats) -> Floats:
    """A curve that starts where nothing is called; NaN stays NaN."""
    return np.concatenate([curve[..., :1] * 0, curve], axis=-1)


def dice(called_normal: Counts, called_lesion: Counts, lesion: Counts) -> Floats:
    """Twice the lesion voxels called, over all voxels called and all lesion voxels."""
    return divided(2 * called_lesion, called_normal + called_lesion + lesion)


def best_dice(normal: Counts, lesion: Counts) -> tuple[Floats, NDArray[np.int64]]:
    """The largest Dice over all thresholds, and the lowest bin that is called there.

    Args:
        normal: `(..., bin)`.
        lesion: `(..., bin)`.
    """
    every = np.asarray(lesion.sum(-1), dtype=np.float64)[..., None]
    curve = np.where(every > 0, dice(at_least(normal), at_least(lesion), every), np.nan)
    place = np.argmax(np.nan_to_num(curve), axis=-1)
    best = np.take_along_axis(curve, place[..., None], axis=-1)[..., 0]
    return best, normal.shape[-1] - 1 - place


def pixel_metrics(tally: VoxelTally, bins: Bins, thresholds: Sequence[str] = ()) -> dict[str, float]:
    """Every metric of one region.

    Args:
        tally: Merged over volumes.
        bins: Its bins.
        thresholds: Names of its thresholds, e.g. `fpr05`.

    Returns:
        prevalence, pixel_auroc, pixel_ap, aupro, dice_oracle, dice_oracle_threshold, `dice_NAME`,
        `pixel_fpr_NAME` (what the threshold's false positive rate came out as),
        `lesion_sensitivity_NAME` and `pro_NAME` (per-region overlap) for each threshold, n_lesions,
        hidden_lesion (share of lesion voxels that are not measured).
    """
    _, lowest = best_dice(tally.normal, tally.lesion)
    n_normal, n_lesion = int(tally.normal.sum()), int(tally.lesion.sum())
    out = {"prevalence": float(divided(np.array(n_lesion), np.array(n_normal + n_lesion)))}
    out |= rates(tally.normal, tally.lesion, tally.weight, np.array(tally.n_lesions))
    out["dice_oracle_threshold"] = bins.lower_edge(int(lowest))
    for row, name in enumerate(thresholds):
        out |= at_threshold(tally, row, name)
    out["n_lesions"] = tally.n_lesions
    out["hidden_lesion"] = float(divided(np.array(tally.hidden), np.array(tally.hidden + n_lesion)))
    return out


def rates(normal: Counts, lesion: Counts, weight: Counts, n_lesions: Counts) -> dict[str, float]:
    """The metrics that need no threshold."""
    return {
        "pixel_auroc": float(binned_auroc(normal, lesion)),
        "pixel_ap": float(average_precision(normal, lesion)),
        "aupro": float(aupro(normal, weight, n_lesions)),
        "dice_oracle": float(best_dice(normal, lesion)[0]),
    }


def at_threshold(tally: VoxelTally, row: int, name: str) -> dict[str, float]:
    """The metrics at one threshold, from exact counts."""
    alarms, hits = tally.called[row]
    return {
        f"dice_{name}": float(dice(alarms, hits, tally.lesion.sum())),
        f"pixel_fpr_{name}": float(divided(alarms, tally.normal.sum())),
        f"lesion_sensitivity_{name}": float(divided(tally.found[row], np.array(tally.n_lesions))),
        f"pro_{name}": float(divided(tally.overlap[row], np.array(tally.n_lesions))),
    }


def fpr_thresholds(tally: VoxelTally, bins: Bins, rates: Mapping[str, float]) -> dict[str, float]:
    """Thresholds that held-out normal voxels exceed no more often than asked.

    Args:
        tally: Of held-out normals.
        bins: Its bins.
        rates: By name: the false positive rate, e.g. `{"fpr05": 0.05}`.

    Returns:
        By name: the lowest edge with a share of at most the rate at or above it; infinity where even the
        highest bin holds more.
    """
    share = divided(at_least(tally.normal), np.array(tally.normal.sum()))[::-1]
    out = {}
    for name, rate in rates.items():
        low_enough = np.flatnonzero(share <= rate)
        out[name] = bins.lower_edge(int(low_enough[0])) if len(low_enough) else float("inf")
    return out
