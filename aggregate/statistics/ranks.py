"""How good predictions of ordered classes are, over participants.

The ordinal C-index is what studies are judged by: of two participants of different classes, how often the one
of the higher class has the higher expected rank, ties counted half. It is AUROC where there are two classes,
0.5 for guessing, and needs no decision; kappa and the error in ranks do, and vary more over small folds.
"""

import numpy as np
from scipy import stats

from aggregate.cohort.task import Metric
from aggregate.common.arrays import Floats, Ints
from aggregate.statistics.metrics import GUESSING

RANKS = (
    Metric("ordinal_c_index", "ordinal C-index", guessing=GUESSING),
    Metric("kappa", "quadratic kappa", -1.0, 1.0),
    Metric("mae_ranks", "MAE in ranks", 0.0, float("inf"), lower_is_better=True),
    Metric("spearman", "Spearman r", -1.0, 1.0),
    Metric("balanced_accuracy", "balanced accuracy"),
)
"""In the order of every table; the first is what studies are judged by."""


def rank_metrics(y: Ints, p: Floats) -> dict[str, float]:
    """All metrics; one that is not defined is NaN.

    Args:
        y: Class index, in order (participant,).
        p: Probabilities (participant, class). Called is the most probable class.
    """
    y, p = np.asarray(y, dtype=np.int64), np.asarray(p, dtype=np.float64)
    if not len(y):
        return dict.fromkeys([metric.name for metric in RANKS], float("nan"))
    expected, called = expected_rank(p), p.argmax(axis=1)
    hits = [float((called[y == c] == c).mean()) for c in np.unique(y)]
    return {
        "ordinal_c_index": c_index(y, expected),
        "kappa": quadratic_kappa(y, called, p.shape[1]),
        "mae_ranks": float(np.abs(expected - y).mean()),
        "spearman": _spearman(y, expected),
        "balanced_accuracy": float(np.mean(hits)),
    }


def expected_rank(p: Floats) -> Floats:
    """The mean class index, counted from 0 (row,)."""
    return np.asarray(p @ np.arange(p.shape[1]), dtype=np.float64)


def c_index(y: Ints, score: Floats) -> float:
    """Share of pairs of different classes in the right order, ties of the score half; NaN without a pair."""
    above = y[:, None] > y[None, :]
    if not above.any():
        return float("nan")
    difference = score[:, None] - score[None, :]
    return float(((difference > 0) + (difference == 0) / 2)[above].mean())


def quadratic_kappa(y: Ints, called: Ints, n_classes: int) -> float:
    """Cohen's kappa with weights that grow with the square of the distance; NaN where all is one class."""
    counts = np.zeros((n_classes, n_classes))
    np.add.at(counts, (y, called), 1)
    place = np.arange(n_classes)
    weight = (place[:, None] - place[None, :]) ** 2.0
    chance = np.outer(counts.sum(axis=1), counts.sum(axis=0)) / counts.sum()
    below = float((weight * chance).sum())
    return 1 - float((weight * counts).sum()) / below if below else float("nan")


def _spearman(y: Ints, score: Floats) -> float:
    if np.ptp(y) == 0 or np.ptp(score) <= 1e-12 * np.abs(score).max():
        return float("nan")
    return float(stats.spearmanr(y, score).statistic)
