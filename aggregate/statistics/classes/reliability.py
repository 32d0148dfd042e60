"""Expected calibration error: how far shares lie from the probabilities that were given, over bins.

Bins hold equally many participants in the order of their probability, equal ones together: as many bins as
leave five participants to each, ten at most. The error is the mean over participants of what their bin's
share of positives differs from its mean probability by, `sum_b |sum_{i in b} (y_i - p_i)| / n` (Naeini et al.
2015, with adaptive bins as in Nixon et al. 2019). Of several classes it is the mean over classes, each
against the rest with its own bins (classwise; Kull et al. 2019).

It is above 0 for a perfectly calibrated model, too, and the more so the fewer participants there are: what
such a model would give is drawn from the probabilities themselves.
"""

import numpy as np
from scipy.special import logsumexp

from aggregate.common.arrays import Floats, Ints
from aggregate.statistics.corrected import Interval
from aggregate.statistics.metrics import Scores

BINS = 10
FEWEST = 5
"""Participants in a bin; with less than two such bins there is one bin."""
DRAWS = 1000


def reliability_bins(p: Floats, fewest: int = FEWEST) -> Ints:
    """The bin of every participant, whatever their order: equal probabilities share one.

    Args:
        p: Probabilities (participant,).
        fewest: In a bin; more where everybody is in there more than once.
    """
    n = len(p)
    levels, place, counts = np.unique(p, return_inverse=True, return_counts=True)
    # A level is where the middle one of its participants would be.
    middle = np.cumsum(counts) - (counts + 1) / 2
    found = np.floor(middle * max(1, min(BINS, n // fewest)) / n).astype(np.int64)
    return np.unique(found, return_inverse=True)[1][place] if len(levels) else place


def calibration_error(truth: Floats, p: Floats) -> Floats:
    """Expected calibration error of one class.

    Args:
        truth: 1 for positive, 0 for negative (..., participant).
        p: Probabilities given (participant,).

    Returns:
        (...)
    """
    bins = reliability_bins(p)
    sums = (truth - p) @ np.eye(int(bins.max()) + 1)[bins]
    return np.asarray(np.abs(sums).sum(axis=-1) / len(p))


def classwise_error(y: Ints, p: Floats) -> Floats:
    """Error of every class that counts (class,): of two classes the positive one alone.

    Args:
        y: Class index (participant,).
        p: Probabilities (participant, class).
    """
    return np.array([float(calibration_error(y == c, p[:, c])) for c in _counting(p)])


def error_if_calibrated(p: Floats, seed: int = 0) -> Interval:
    """Mean and 95 % range of the error that labels drawn from these probabilities have.

    Args:
        p: Probabilities (participant, class).
        seed: Of the draws.
    """
    uniform = np.random.Generator(np.random.PCG64(seed)).random((DRAWS, len(p), 1))
    drawn = (uniform > np.cumsum(p, axis=1)[:, :-1]).sum(axis=2)
    errors = np.mean([calibration_error(drawn == c, p[:, c]) for c in _counting(p)], axis=0)
    low, high = np.quantile(errors, [0.025, 0.975])
    return Interval(float(errors.mean()), float(low), float(high))


def _counting(p: Floats) -> range:
    return range(1 if p.shape[1] == 2 else 0, p.shape[1])


def logit_of(scores: Scores, c: int) -> Floats:
    """Logit of one class's probability (participant,)."""
    others = np.delete(scores.logits, c, axis=1)
    return np.asarray(scores.logits[:, c] - logsumexp(others, axis=1))
