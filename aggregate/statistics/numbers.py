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
    truth, said = np.asarray(y, dtype=np.float64), np.asarray(predicted, dtype=np.float64)
    return {name: float(values[0]) for name, values in numbers_of_draws(truth[None], said[None]).items()}


def numbers_of_draws(y: Floats, predicted: Floats) -> dict[str, Floats]:
    """The same of many samples of one size at once, as a bootstrap draws them: (draw,) by name.

    Args:
        y: The truth (draw, participant).
        predicted: (draw, participant)
    """
    if not y.shape[1]:
        return {metric.name: np.full(len(y), np.nan) for metric in NUMBERS}
    error = predicted - y
    size, squared = np.abs(error), error**2
    slope, intercept = _line(y, error)
    low, middle, high = _thirds(y, size)
    return {
        "mae": size.mean(axis=1),
        "rmse": np.sqrt(squared.mean(axis=1)),
        "r2": 1 - _ratio(squared.sum(axis=1), (_centred(y) ** 2).sum(axis=1)),
        "pearson": _correlation(y, predicted),
        "spearman": _correlation(stats.rankdata(y, axis=1), stats.rankdata(predicted, axis=1)),
        "bias": error.mean(axis=1),
        "bias_slope": slope,
        "bias_intercept": intercept,
        "mae_low": low,
        "mae_middle": middle,
        "mae_high": high,
    }


def _ratio(above: Floats, below: Floats) -> Floats:
    """Quotients (draw,), NaN where one is not defined."""
    return np.divide(above, below, out=np.full(len(above), np.nan), where=below != 0)


def _centred(values: Floats) -> Floats:
    """Less their mean (draw, participant)."""
    return np.asarray(values - values.mean(axis=1, keepdims=True), dtype=np.float64)


def _correlation(a: Floats, b: Floats) -> Floats:
    """Pearson's r (draw,); NaN where one side does not vary beyond rounding."""
    flat = [np.ptp(side, axis=1) <= 1e-12 * np.abs(side).max(axis=1) for side in (a, b)]
    a, b = _centred(a), _centred(b)
    spread = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    return _ratio((a * b).sum(axis=1), np.where(flat[0] | flat[1], 0.0, spread))


def _line(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Slopes and intercepts of least squares lines (draw,)."""
    centred = _centred(x)
    slope = _ratio((centred * y).sum(axis=1), (centred**2).sum(axis=1))
    return slope, np.asarray(y.mean(axis=1) - slope * x.mean(axis=1), dtype=np.float64)


def _thirds(y: Floats, size: Floats) -> tuple[Floats, Floats, Floats]:
    """Mean size of error in thirds of the truth (draw,)."""
    low, high = np.quantile(y, [1 / 3, 2 / 3], axis=1)[..., None]
    parts = (y < low, (y >= low) & (y < high), y >= high)
    found = [_ratio((size * part).sum(axis=1), part.sum(axis=1)) for part in parts]
    return found[0], found[1], found[2]
