"""Calibration of a fixed model on participants outside its training, by logistic recalibration.

Cox, Biometrika 1958; Van Calster et al., BMC Medicine 2019. The slope is that of a logistic regression of the
label on the model's logit: 1 is right, below 1 the model is too sure of itself. The intercept is fitted with
the logit as an offset: 0 is right, above 0 the positive class is commoner than the model says.
"""

from dataclasses import dataclass

import numpy as np
from scipy import stats
from scipy.special import expit

from aggregate.common.arrays import Floats, Ints
from aggregate.statistics.corrected import Interval

STEPS = 100
STEEPEST = 30.0
"""A slope beyond this, or an offset, is one that runs away because the classes are separated."""
TOLERANCE = 1e-10


@dataclass(frozen=True, slots=True)
class Recalibration:
    """What a logistic regression on the logit finds; NaN where it has no solution."""

    slope: Interval
    intercept: Interval
    """With the slope held at 1: calibration in the large."""


def recalibrate(y: Ints, logit: Floats, level: float = 0.95) -> Recalibration:
    """Slope and intercept with Wald intervals.

    Args:
        y: 1 for positive, 0 for negative (participant,).
        logit: Of the positive class's probability (participant,).
        level: Coverage.
    """
    truth, logit = np.asarray(y, dtype=np.float64), np.asarray(logit, dtype=np.float64)
    ones = np.ones((len(truth), 1))
    # In units of the logits' own spread the search is as well behaved for logits of 0.01 as of 100.
    spread = float(logit.std()) or 1.0
    both = _fit(np.concatenate([ones, (logit / spread)[:, None]], axis=1), truth, np.zeros(len(truth)))
    alone = _fit(ones, truth, logit)
    return Recalibration(_interval(both, 1, level, 1 / spread), _interval(alone, 0, level))


Fitted = tuple[Floats, Floats] | None
"""Coefficients and their standard errors."""


def _fit(x: Floats, y: Floats, offset: Floats) -> Fitted:
    """Maximum likelihood by Newton's method; None where it has no finite maximum."""
    if len(np.unique(y)) < 2:
        return None
    found = np.zeros(x.shape[1])
    for _ in range(STEPS):
        p = expit(x @ found + offset)
        information = (x * (p * (1 - p))[:, None]).T @ x
        if np.linalg.cond(information) > 1 / TOLERANCE:
            return None
        step = np.linalg.solve(information, x.T @ (y - p))
        # A whole step from far away may overshoot; a short one is always uphill.
        found = found + step * min(1.0, 2.0 / max(float(np.abs(step).max()), 1e-300))
        if float(np.abs(found).max()) > STEEPEST + float(np.abs(offset).max()):
            return None
        if float(np.abs(step).max()) < TOLERANCE:
            return found, np.sqrt(np.diag(np.linalg.inv(information)))
    return None


def _interval(fitted: Fitted, place: int, level: float, unit: float = 1.0) -> Interval:
    """One coefficient, in `unit`s of itself."""
    if fitted is None:
        return Interval(np.nan, np.nan, np.nan)
    value, half = fitted[0][place] * unit, stats.norm.ppf((1 + level) / 2) * fitted[1][place] * unit
    return Interval(float(value), float(value - half), float(value + half))
