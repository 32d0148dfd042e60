"""What acting on a prediction is worth: net benefit over thresholds.

Vickers and Elkin, Medical Decision Making 2006. Who acts at a probability of `t` holds a false positive to
cost `t / (1 - t)` true positives.
"""

from dataclasses import dataclass

import numpy as np

from aggregate.common.arrays import Floats, Ints

THRESHOLDS: Floats = np.arange(1, 100) / 100


@dataclass(frozen=True, slots=True)
class DecisionCurve:
    """Net benefit in true positives per participant, beside treating everybody; treating nobody has 0."""

    threshold: Floats
    model: Floats
    treat_all: Floats


def decision_curve(y: Ints, p: Floats, thresholds: Floats = THRESHOLDS) -> DecisionCurve:
    """Net benefit of calling positive whoever has at least a probability.

    Args:
        y: 1 for positive, 0 for negative (participant,).
        p: Probability of the positive class (participant,).
        thresholds: Between 0 and 1, ascending.
    """
    positive, p = np.asarray(y) == 1, np.asarray(p, dtype=np.float64)
    n, odds = len(p), thresholds / (1 - thresholds)
    hits = len(p[positive]) - np.searchsorted(np.sort(p[positive]), thresholds, side="left")
    alarms = len(p[~positive]) - np.searchsorted(np.sort(p[~positive]), thresholds, side="left")
    share = float(positive.mean())
    return DecisionCurve(thresholds, (hits - alarms * odds) / n, share - (1 - share) * odds)
