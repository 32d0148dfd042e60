"""Pointwise intervals of a curve, by the same statistics as the numbers beside it.

Folds of a cross-validation have the corrected interval at every point (`corrected.py`); a fixed model on
participants outside its training has the percentile bootstrap (`bootstrap.py`). A point at which all folds
have one value has no limits: no spread is no certainty.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from aggregate.common.arrays import Floats
from aggregate.statistics.bootstrap import bootstrap_intervals, one_by_one
from aggregate.statistics.corrected import SHARED_PAIRS, Interval, corrected_interval
from aggregate.statistics.metrics import Scores

Curve = Callable[[Floats, Floats], Floats]
"""From truth (participant,), 1 for positive, and scores (participant,) to values (point,)."""
DRAWS = 500
"""Of the bootstrap: a band is read by eye."""


@dataclass(frozen=True, slots=True)
class Band:
    """Limits of a curve (point,); NaN where there is no way to give them."""

    low: Floats
    high: Floats


def fold_band(curves: Floats, n_train: Floats, n_test: Floats) -> Band:
    """Corrected 95 % interval at every point of a mean curve.

    Args:
        curves: (fold, point), seeds averaged, between 0 and 1; at least two.
        n_train: Participants that each fold trained on (fold,).
        n_test: That it tested (fold,).
    """
    return _band(
        [
            corrected_interval(values, n_train, n_test, bounds=(0.0, 1.0), overlap=SHARED_PAIRS)
            for values in curves.T
        ]
    )


def people_band(truth: Floats, score: Floats, curve: Curve) -> Band:
    """Percentile interval at every point over resampled participants, stratified by label.

    Args:
        truth: 1 for positive, 0 for negative (participant,); both occur.
        score: (participant,).
        curve: What is drawn.
    """

    def points(scores: Scores) -> dict[str, float]:
        values = curve(np.asarray(scores.y, dtype=np.float64), scores.logits[:, 0])
        return {str(place): float(value) for place, value in enumerate(values)}

    scores = Scores((), np.asarray(truth).astype(np.int64), np.asarray(score, dtype=np.float64)[:, None])
    return _band(list(bootstrap_intervals(scores, one_by_one(points), n=DRAWS).values()))


def _band(intervals: list[Interval]) -> Band:
    return Band(np.array([one.low for one in intervals]), np.array([one.high for one in intervals]))
