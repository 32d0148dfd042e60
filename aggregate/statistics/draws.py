"""The metrics of two classes of many samples at once, as a bootstrap draws them: `binary_metrics` of each."""

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from aggregate.common.arrays import Floats, Ints


def binary_metrics_of_draws(y: Ints, p: Floats, threshold: float = 0.5) -> dict[str, Floats]:
    """What `metrics.binary_metrics` gives of every draw (draw,), by name.

    Args:
        y: 1 for positive, 0 for negative (draw, participant).
        p: Probability of the positive class (draw, participant).
        threshold: A participant is called positive when `p >= threshold`.
    """
    positive, called = y == 1, p >= threshold
    with_it, n = positive.sum(axis=1), y.shape[1]
    tp, fp = (called & positive).sum(axis=1), (called & ~positive).sum(axis=1)
    fn, tn = with_it - tp, n - with_it - fp
    sensitivity, specificity = _ratios(tp, tp + fn), _ratios(tn, tn + fp)
    spread = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn).astype(np.float64)
    return {
        "auroc": _auroc(positive, p),
        "auprc": _auprc(positive, p),
        "balanced_accuracy": (sensitivity + specificity) / 2,
        "mcc": np.divide(tp * tn - fp * fn, np.sqrt(spread), out=np.zeros(len(y)), where=spread > 0),
        "f1": _ratios(2 * tp, 2 * tp + fp + fn),
        "sensitivity": sensitivity,
        "specificity": specificity,
        "brier": np.mean((p - positive) ** 2, axis=1),
    }


def _auroc(positive: NDArray[np.bool_], p: Floats) -> Floats:
    """By mean ranks, ties counted half (draw,)."""
    with_it = positive.sum(axis=1)
    above = (stats.rankdata(p, axis=1) * positive).sum(axis=1) - with_it * (with_it + 1) / 2
    return _ratios(above, with_it * (positive.shape[1] - with_it))


def _auprc(positive: NDArray[np.bool_], p: Floats) -> Floats:
    """Mean over the positive of the precision at their score, those of equal scores together (draw,)."""
    order = np.argsort(-p, axis=1, kind="stable")
    hit, score = np.take_along_axis(positive, order, axis=1), np.take_along_axis(p, order, axis=1)
    n = positive.shape[1]
    last = np.ones_like(positive)
    last[:, :-1] = score[:, :-1] != score[:, 1:]
    ends = np.minimum.accumulate(np.where(last, np.arange(n), n)[:, ::-1], axis=1)[:, ::-1]
    precision = hit.cumsum(axis=1) / np.arange(1, n + 1)
    total, with_it = (np.take_along_axis(precision, ends, axis=1) * hit).sum(axis=1), hit.sum(axis=1)
    return _ratios(total, np.where(with_it < n, with_it, 0))


def _ratios(above: NDArray[np.generic], below: NDArray[np.generic]) -> Floats:
    """Quotients (draw,), NaN where one is not defined."""
    return np.divide(above, below, out=np.full(len(above), np.nan), where=below != 0)
