"""What may be claimed from folds and repeats: intervals and tests with a corrected variance.

Training sets of different folds overlap, so the plain variance of a mean over folds is too small.
Nadeau and Bengio (2003) correct it: with `J = k r` values, the variance of the mean is taken as
`(1/J + n_test/n_train) * s^2`, on `J - 1` degrees of freedom. Seeds of one fold are averaged first:
they are repetitions of the training, not of the data.

With many repeats that is too little where nothing can be learnt: two configurations of equal worth then
differ "significantly" in 6 to 14 % of made-up cohorts (`docs/statistics.md`). `SHARED_PAIRS` takes the
correlation that such folds do have, and is what the tables use.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

from aggregate.common.arrays import Floats
from cache_schema.common.errors import SlicecacheError

Overlap = Literal["test_share", "shared_pairs"]
"""What correlation of folds is assumed: Nadeau and Bengio's, or that of folds that share pairs."""

TEST_SHARE: Overlap = "test_share"
SHARED_PAIRS: Overlap = "shared_pairs"

CORRECTED = (
    "corrected resampled t interval (after Nadeau & Bengio 2003) over folds x repeats, seeds averaged first: "
    "variance factor 1/(k r) + c/(1 - c), with c the correlation of folds that share pairs of participants "
    "in place of n_test/n, k r - 1 degrees of freedom, level 0.95; on the arcsine scale where it would leave "
    "the metric's range, of a difference cut to [-1, 1]; none where all folds have one value"
)
"""`ci_method` of cross-validation."""

SPREAD = 1e-9
"""Folds that differ by no more have no spread: what is left is rounding."""


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


def shared_pairs_correlation(n_values: int, q: float) -> float:
    """Mean correlation of two folds' values where there is nothing to learn.

    What a training participant i says of a test participant j is then noise, and the same noise as j says
    of i: to first order a value is a sum over pairs that its fold separates, symmetric in i and j. Two
    folds correlate by the share of pairs that both separate: `q / (1 - q)` within a repeat, `2 q (1 - q)`
    on average between repeats, against `q` of Nadeau and Bengio. Two folds without repeats separate the
    same pairs (each trains on what the other tests): a half is taken, as theirs has it.

    Args:
        n_values: Folds x repeats.
        q: Share of the participants that a fold tests.
    """
    within = min(1 / q, n_values) - 1
    between = max(n_values - 1 / q, 0.0)
    return float(min((within * q / (1 - q) + between * 2 * q * (1 - q)) / (n_values - 1), 0.5))


def standard_error(
    values: Floats,
    n_train: float | Sequence[int] | Floats,
    n_test: float | Sequence[int] | Floats,
    overlap: Overlap = TEST_SHARE,
) -> float:
    """Corrected standard error of a mean over folds x repeats.

    Values of variance v that correlate by c have a mean of variance `v (1/J + (1 - 1/J) c)` and a sample
    variance of `v (1 - c)`, hence the factor `1/J + c / (1 - c)`; Nadeau and Bengio take
    `c = n_test / (n_train + n_test)`.

    Args:
        values: One per fold of a repeat (fold,).
        n_train: Participants in the training part: one number, or one per value.
        n_test: Participants in the test part, likewise; the mean ratio is used.
        overlap: Which correlation is taken.
    """
    train, test = np.asarray(n_train, dtype=np.float64), np.asarray(n_test, dtype=np.float64)
    if overlap == TEST_SHARE:
        share = float(np.mean(test / train))
    else:
        c = shared_pairs_correlation(len(values), float(np.mean(test / (train + test))))
        share = c / (1 - c)
    return float(np.sqrt((1 / len(values) + share) * np.var(values, ddof=1)))


def corrected_interval(
    values: Sequence[float] | Floats,
    n_train: float | Sequence[int] | Floats,
    n_test: float | Sequence[int] | Floats,
    level: float = 0.95,
    bounds: tuple[float, float] | None = None,
    overlap: Overlap = TEST_SHARE,
) -> Interval:
    """Mean and corrected interval of a metric over folds x repeats.

    Folds in which the metric is not defined (one class in the test part) are left out. With fewer than
    two values left, or without any spread, the limits are NaN: folds that all say 1.0 do not show that the
    metric is 1.0. An interval that would leave the bounds is made on the arcsine scale, where it cannot:
    cut at the bound, it misses what is near one in 8 to 12 % (`docs/statistics.md`).

    Args:
        values: One per fold of a repeat, seeds averaged (fold,).
        n_train: Participants in the training part: one number, or one per value.
        n_test: Participants in the test part, likewise.
        level: Coverage.
        bounds: Least and largest value of the metric.
        overlap: Which correlation of folds is taken.
    """
    kept, train, test = _defined(values, n_train, n_test)
    mean = float(kept.mean()) if len(kept) else float("nan")
    if without_spread(kept):
        return Interval(mean, float("nan"), float("nan"))
    half = float(stats.t.ppf((1 + level) / 2, len(kept) - 1)) * standard_error(kept, train, test, overlap)
    if bounds is None or (bounds[0] <= mean - half and mean + half <= bounds[1]):
        return Interval(mean, mean - half, mean + half)
    if not np.isfinite(bounds).all():  # no scale has both ends; an error is never near its only one
        low, high = np.clip([mean - half, mean + half], *bounds)
        return Interval(mean, float(low), float(high))
    return _inside(mean, half, *bounds)


def without_spread(values: Floats) -> bool:
    """Whether values (fold,) say nothing of how far they vary: fewer than two, or all equal."""
    return len(values) < 2 or float(np.ptp(values)) <= SPREAD


def _inside(mean: float, half: float, least: float, most: float) -> Interval:
    """An interval of half-width `half` near its middle, on the scale where shares vary alike."""
    width = most - least
    share = (mean - least) / width
    angle, turn = np.arcsin(np.sqrt(share)), half / width / (2 * np.sqrt(share * (1 - share)))
    low, high = (np.sin(np.clip(angle + side * turn, 0, np.pi / 2)) ** 2 for side in (-1, 1))
    return Interval(mean, least + width * float(low), least + width * float(high))


def corrected_t_test(
    differences: Sequence[float] | Floats,
    n_train: float | Sequence[int] | Floats,
    n_test: float | Sequence[int] | Floats,
    level: float = 0.95,
    overlap: Overlap = TEST_SHARE,
) -> Test:
    """Corrected resampled t-test of paired differences over folds x repeats, two-sided.

    Differences that are all equal, 0 or not, have no spread to judge them by: limits, t and p are NaN.

    Raises:
        SlicecacheError: If fewer than two folds define the difference.
    """
    kept, train, test = _defined(differences, n_train, n_test)
    if len(kept) < 2:
        raise SlicecacheError(f"comparing configurations takes at least two folds, found {len(kept)}")
    mean, df = float(kept.mean()), len(kept) - 1
    if without_spread(kept):
        nan = float("nan")
        return Test(mean, nan, nan, nan, df, nan)
    error = standard_error(kept, train, test, overlap)
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
