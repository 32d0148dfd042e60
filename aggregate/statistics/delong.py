"""AUROC of fixed models on participants outside all their training: DeLong's interval and paired test.

DeLong, DeLong and Clarke-Pearson, Biometrics 1988, in the fast form of Sun and Xu, IEEE Signal Processing
Letters 2014: placements come from midranks, so that no pair of participants is formed.

It knows the spread over test participants and nothing of the spread over training sets. Out-of-fold
scores come from several models whose training sets hold each other's test participants: do not give it
those (`docs/statistics.md` has the false positives).
"""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from aggregate.common.arrays import Floats, Ints
from aggregate.statistics.corrected import Interval
from cache_schema.common.errors import SlicecacheError

DELONG = "DeLong interval over the test participants of a fixed model, level 0.95"
"""`ci_method` where a model is fixed and its test participants are outside it."""


@dataclass(frozen=True, slots=True)
class DeLong:
    """Two fixed models on the same participants."""

    difference: float
    """AUROC of the first less AUROC of the second."""
    low: float
    high: float
    z: float
    p: float
    """Two-sided, from the normal distribution."""


def delong_covariance(y: Ints, scores: Floats) -> tuple[Floats, Floats]:
    """AUROC of every model and their covariance.

    Args:
        y: 1 for positive, 0 for negative (participant,).
        scores: One row per model, growing with the positive class (model, participant).

    Returns:
        AUROC (model,) and covariance (model, model).

    Raises:
        SlicecacheError: If a class has fewer than two participants: its spread is then not defined.
    """
    scores, positive = np.atleast_2d(np.asarray(scores, dtype=np.float64)), np.asarray(y) == 1
    m, n = int(positive.sum()), int((~positive).sum())
    if min(m, n) < 2:
        raise SlicecacheError(
            f"DeLong needs two participants of each class, found {m} positive and {n} negative"
        )
    a, b = scores[:, positive], scores[:, ~positive]
    both = stats.rankdata(np.concatenate([a, b], axis=1), axis=1)
    # What a participant's rank among all exceeds its rank in its own class by: the others it is above.
    above = (both[:, :m] - stats.rankdata(a, axis=1)) / n
    below = 1 - (both[:, m:] - stats.rankdata(b, axis=1)) / m
    auroc = above.mean(axis=1)
    return auroc, np.atleast_2d(np.cov(above)) / m + np.atleast_2d(np.cov(below)) / n


def delong_interval(y: Ints, score: Floats, level: float = 0.95) -> Interval:
    """AUROC of one fixed model with its interval, cut to [0, 1].

    Args:
        y: 1 for positive, 0 for negative (participant,).
        score: Grows with the positive class (participant,).
        level: Coverage.

    Raises:
        SlicecacheError: If a class has fewer than two participants.
    """
    auroc, covariance = delong_covariance(y, score)
    half = float(stats.norm.ppf((1 + level) / 2) * np.sqrt(covariance[0, 0]))
    value = float(auroc[0])
    return Interval(value, max(value - half, 0.0), min(value + half, 1.0))


def delong_test(y: Ints, ours: Floats, other: Floats, level: float = 0.95) -> DeLong:
    """Whether two fixed models differ in AUROC on the same participants, two-sided; limits cut to [-1, 1].

    Models that rank alike leave no spread: p is 1 when the difference is 0, and not defined otherwise.

    Args:
        y: 1 for positive, 0 for negative (participant,).
        ours: Scores of the first model (participant,).
        other: Scores of the second (participant,).
        level: Coverage of the difference's interval.

    Raises:
        SlicecacheError: If a class has fewer than two participants.
    """
    auroc, covariance = delong_covariance(y, np.stack([ours, other]))
    difference = float(auroc[0] - auroc[1])
    error = delong_spread(covariance)
    if error == 0:
        same = difference == 0
        return DeLong(difference, difference, difference, 0.0 if same else np.nan, 1.0 if same else np.nan)
    z, half = difference / error, float(stats.norm.ppf((1 + level) / 2)) * error
    low, high = max(difference - half, -1.0), min(difference + half, 1.0)
    return DeLong(difference, low, high, z, float(2 * stats.norm.sf(abs(z))))


def delong_spread(covariance: Floats) -> float:
    """Standard error of the difference of two AUROC, 0 where rounding is all that is left."""
    variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    scale = covariance[0, 0] + covariance[1, 1]
    return float(np.sqrt(variance)) if variance > 1e-12 * scale else 0.0
