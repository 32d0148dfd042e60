"""What may be claimed from folds and repeats: intervals and tests with a corrected variance.

Training sets of different folds overlap, so the plain variance of a mean over folds is too small.
Nadeau and Bengio (2003) correct it: with `J = k r` values, the variance of the mean is taken as
`(1/J + n_test/n_train) * s^2`, on `J - 1` degrees of freedom. Seeds of one fold are averaged first:
they are repetitions of the training, not of the data.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from aggregate.statistics.holm import holm as holm
from aggregate.statistics.permutation import permutation_p as permutation_p
from cache_schema.errors import SlicecacheError

Floats = NDArray[np.float64]

CORRECTED = (
    "corrected resampled t interval (Nadeau & Bengio 2003) over folds x repeats, seeds averaged first: "
    "variance factor 1/(k r) + n_test/n_train, k r - 1 degrees of freedom, level 0.95"
)
"""`ci_method` of cross-validation."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A value with its interval; NaN limits when there is no way to give them."""

    value: float
    low: float
    high: float

    def as_json(self) -> dict[str, float | None]:
        """`value`, `ci_low`, `ci_high`; None where not defined, since JSON has no NaN."""
        pairs = {"value": self.value, "ci_low": self.low, "ci_high": self.high}
        return {name: float(number) if np.isfinite(number) else None for name, number in pairs.items()}


@dataclass(frozen=True, slots=True)
class Test:
    """A paired comparison of two configurations over the same folds."""

    difference: float
    low: float
    high: float
    t: float
    df: int
    p: float
    """Two-sided."""


def mean_over_seeds(
    values: Mapping[Hashable, Sequence[float]] | Sequence[tuple[Hashable, float]],
) -> Floats:
    """One value per fold of a repeat: the mean over its seeds, in order of first appearance.

    Args:
        values: By `(repeat, fold)` the values of its seeds, or pairs of that key and a value.
    """
    if isinstance(values, Mapping):
        return np.array([np.mean(group) for group in values.values()], dtype=np.float64)
    groups: dict[Hashable, list[float]] = {}
    for key, value in values:
        groups.setdefault(key, []).append(value)
    return mean_over_seeds(groups)


def standard_error(
    values: Floats, n_train: float | Sequence[int] | Floats, n_test: float | Sequence[int] | Floats
) -> float:
    """Corrected standard error of a mean over folds x repeats.

    Args:
        values: One per fold of a repeat (fold,).
        n_train: Participants in the training part: one number, or one per value.
        n_test: Participants in the test part, likewise; the mean ratio is used.
    """
    share = float(np.mean(np.asarray(n_test, dtype=np.float64) / np.asarray(n_train, dtype=np.float64)))
    return float(np.sqrt((1 / len(values) + share) * np.var(values, ddof=1)))


def corrected_interval(
    values: Sequence[float] | Floats,
    n_train: float | Sequence[int] | Floats,
    n_test: float | Sequence[int] | Floats,
    level: float = 0.95,
    bounds: tuple[float, float] | None = None,
) -> Interval:
    """Mean and corrected interval of a metric over folds x repeats.

    Folds in which the metric is not defined (one class in the test part) are left out. With fewer than
    two values left the limits are NaN.

    Args:
        values: One per fold of a repeat, seeds averaged (fold,).
        n_train: Participants in the training part: one number, or one per value.
        n_test: Participants in the test part, likewise.
        level: Coverage.
        bounds: Limits of the metric, to which the interval is cut.
    """
    kept, train, test = _defined(values, n_train, n_test)
    if len(kept) < 2:
        return Interval(float(kept.mean()) if len(kept) else float("nan"), float("nan"), float("nan"))
    mean = float(kept.mean())
    half = float(stats.t.ppf((1 + level) / 2, len(kept) - 1)) * standard_error(kept, train, test)
    low, high = mean - half, mean + half
    if bounds is not None:
        low, high = max(low, bounds[0]), min(high, bounds[1])
    return Interval(mean, low, high)


def corrected_t_test(
    differences: Sequence[float] | Floats,
    n_train: float | Sequence[int] | Floats,
    n_test: float | Sequence[int] | Floats,
    level: float = 0.95,
) -> Test:
    """Corrected resampled t-test of paired differences over folds x repeats, two-sided.

    Differences that are all equal have no spread: p is 1 when they are 0, and not defined otherwise.

    Raises:
        SlicecacheError: If fewer than two folds define the difference.
    """
    kept, train, test = _defined(differences, n_train, n_test)
    if len(kept) < 2:
        raise SlicecacheError(f"comparing configurations takes at least two folds, found {len(kept)}")
    mean, df = float(kept.mean()), len(kept) - 1
    error = standard_error(kept, train, test)
    if error == 0:
        return Test(
            mean, mean, mean, 0.0 if mean == 0 else float("nan"), df, 1.0 if mean == 0 else float("nan")
        )
    t, half = mean / error, float(stats.t.ppf((1 + level) / 2, df)) * error
    return Test(mean, mean - half, mean + half, t, df, float(2 * stats.t.sf(abs(t), df)))


def _defined(
    values: Sequence[float] | Floats,
    n_train: float | Sequence[int] | Floats,
    n_test: float | Sequence[int] | Floats,
) -> tuple[Floats, Floats, Floats]:
    """Values that are not NaN, with their part sizes spread to one per value."""
    array = np.asarray(values, dtype=np.float64)
    train = np.broadcast_to(np.asarray(n_train, dtype=np.float64), array.shape)
    test = np.broadcast_to(np.asarray(n_test, dtype=np.float64), array.shape)
    ok = ~np.isnan(array)
    return array[ok], train[ok], test[ok]
