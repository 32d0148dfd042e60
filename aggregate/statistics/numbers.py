"""How good predicted numbers are, over participants: error, explained variance, order, and bias by the truth.

The slope of bias is that of `prediction - truth` over the truth: -1 for a predictor that always says the
mean, 0 for one that is wrong alike everywhere. Penalised and noisy predictors lie between (regression
dilution): the young look older than they are and the old younger. It is reported, never corrected.
"""

import numpy as np
from scipy import stats

from aggregate.cohort.task import Metric
from aggregate.common.arrays import Floats

INFINITE = float("inf")

NUMBERS = (
    Metric("mae", "MAE", 0.0, INFINITE, lower_is_better=True),
    Metric("rmse", "RMSE", 0.0, INFINITE, lower_is_better=True),
    Metric("r2", "R²", -INFINITE, 1.0),
    Metric("pearson", "Pearson r", -1.0, 1.0),
    Metric("spearman", "Spearman r", -1.0, 1.0),
    Metric("bias", "mean error", -INFINITE, INFINITE),
    Metric("bias_slope", "slope of bias", -INFINITE, INFINITE),
    Metric("bias_intercept", "intercept of bias", -INFINITE, INFINITE),
    Metric("mae_low", "MAE, lowest third", 0.0, INFINITE, lower_is_better=True),
    Metric("mae_middle", "MAE, middle third", 0.0, INFINITE, lower_is_better=True),
    Metric("mae_high", "MAE, highest third", 0.0, INFINITE, lower_is_better=True),
)
"""In the order of every table; the first is what studies are judged by."""


def number_metrics(y: Floats, predicted: Floats) -> dict[str, float]:
    """All metrics of predicted numbers; one that is not defined is NaN.

    Args:
        y: The truth (participant,).
        predicted: (participant,)
    """
    y, predicted = np.asarray(y, dtype=np.float64), np.asarray(predicted, dtype=np.float64)
    if not len(y):
        return dict.fromkeys([metric.name for metric in NUMBERS], float("nan"))
    error = predicted - y
    slope, intercept = _line(y, error)
    low, middle, high = _thirds(y, np.abs(error))
    spread = float(((y - y.mean()) ** 2).sum())
    return {
        "mae": float(np.abs(error).mean()),
        "rmse": float(np.sqrt((error**2).mean())),
        "r2": 1 - float((error**2).sum()) / spread if spread else float("nan"),
        "pearson": _correlation(y, predicted),
        "spearman": _correlation(stats.rankdata(y), stats.rankdata(predicted)),
        "bias": float(error.mean()),
        "bias_slope": slope,
        "bias_intercept": intercept,
        "mae_low": low,
        "mae_middle": middle,
        "mae_high": high,
    }


def _correlation(a: Floats, b: Floats) -> float:
    """Pearson's r; NaN where one side does not vary beyond rounding."""
    if any(np.ptp(side) <= 1e-12 * np.abs(side).max() for side in (a, b)):
        return float("nan")
    a, b = a - a.mean(), b - b.mean()
    return float(a @ b) / float(np.sqrt((a @ a) * (b @ b)))


def _line(x: Floats, y: Floats) -> tuple[float, float]:
    """Slope and intercept of a least squares line."""
    centred = x - x.mean()
    square = float(centred @ centred)
    if not square:
        return float("nan"), float("nan")
    slope = float(centred @ y) / square
    return slope, float(y.mean() - slope * x.mean())


def _thirds(y: Floats, size: Floats) -> tuple[float, float, float]:
    """Mean size of error in thirds of the truth."""
    low, high = np.quantile(y, [1 / 3, 2 / 3])
    parts = (y < low, (y >= low) & (y < high), y >= high)
    found = [float(size[part].mean()) if part.any() else float("nan") for part in parts]
    return found[0], found[1], found[2]
