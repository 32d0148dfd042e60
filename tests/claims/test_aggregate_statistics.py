"""Intervals and tests against their formulas written out, and against simulation."""

import math

import numpy as np
import pytest
from scipy import stats

from aggregate.statistics.bootstrap import bootstrap_intervals, one_by_one
from aggregate.statistics.corrected import corrected_interval, corrected_t_test, mean_over_seeds
from aggregate.statistics.holm import holm
from aggregate.statistics.metrics import Scores, measure
from aggregate.statistics.permutation import permutation_p
from cache_schema.common.errors import SlicecacheError

pytestmark = pytest.mark.numerics


def written_out(values, n_train, n_test):
    """Nadeau & Bengio 2003, as a slow loop."""
    n = len(values)
    mean = sum(values) / n
    variance = sum((v - mean) ** 2 for v in values) / (n - 1)
    return mean, math.sqrt((1 / n + n_test / n_train) * variance), n - 1


def test_the_interval_is_the_formula():
    values = np.random.default_rng(0).uniform(0.6, 0.9, 15)
    mean, error, df = written_out(values.tolist(), 57, 13)
    half = stats.t.ppf(0.975, df) * error
    found = corrected_interval(values, 57, 13)
    assert (found.value, found.low, found.high) == pytest.approx((mean, mean - half, mean + half), abs=1e-12)
    # Much wider than the plain interval over 15 values, which would pretend that folds are independent.
    assert half > 1.9 * stats.t.ppf(0.975, df) * values.std(ddof=1) / math.sqrt(15)


def test_fold_sizes_may_differ():
    values, train, test = [0.7, 0.9, 0.8], [40, 41, 42], [11, 10, 9]
    share = np.mean([11 / 40, 10 / 41, 9 / 42])
    error = math.sqrt((1 / 3 + share) * np.var(values, ddof=1))
    found = corrected_interval(values, train, test, level=0.9)
    assert found.high - found.value == pytest.approx(stats.t.ppf(0.95, 2) * error)


def test_undefined_folds_are_left_out_and_bounds_hold():
    with_gap = corrected_interval([0.9, float("nan"), 1.0, 0.95], [10, 99, 10, 10], [5, 99, 5, 5])
    assert with_gap == corrected_interval([0.9, 1.0, 0.95], 10, 5)
    assert with_gap.high > 1
    inside = corrected_interval([0.9, 1.0, 0.95], 10, 5, bounds=(0.0, 1.0))
    assert 0.5 < inside.low < inside.value < inside.high <= 1.0
    m, half = 0.95, stats.t.ppf(0.975, 2) * math.sqrt((1 / 3 + 0.5) * np.var([0.9, 1.0, 0.95], ddof=1))
    angle = math.asin(math.sqrt(m)) - half / (2 * math.sqrt(m * (1 - m)))
    assert inside.low == pytest.approx(math.sin(angle) ** 2, abs=1e-12)
    mcc = corrected_interval([0.8, 1.0, 0.9], 10, 5, bounds=(-1.0, 1.0))
    assert (mcc.low, mcc.high) == pytest.approx((2 * inside.low - 1, 2 * inside.high - 1))
    assert corrected_interval([0.6, 0.7, 0.5], 10, 1, bounds=(0.0, 1.0)) == corrected_interval(
        [0.6, 0.7, 0.5], 10, 1
    )
    wide = corrected_interval([0.1, 0.9], 10, 10, bounds=(0.0, 1.0))
    assert (wide.low, wide.high) == (0.0, 1.0)
    one = corrected_interval([0.8], 10, 5)
    assert one.as_json() == {"value": 0.8, "ci_low": None, "ci_high": None}
    assert corrected_interval([float("nan")], 10, 5).as_json()["value"] is None


def test_the_t_test_is_the_formula():
    differences = np.random.default_rng(1).normal(0.02, 0.05, 35)
    mean, error, df = written_out(differences.tolist(), 40, 10)
    found = corrected_t_test(differences, 40, 10)
    assert found.t == pytest.approx(mean / error, abs=1e-12)
    assert found.p == pytest.approx(2 * (1 - stats.t.cdf(abs(mean / error), df)), abs=1e-9)
    assert found.df == df
    assert (found.low > 0 or found.high < 0) == (found.p < 0.05)


def test_differences_without_spread():
    for values in ([0.0, 0.0, 0.0], [0.5, 0.5], [0.9 - 0.8, 0.8 - 0.7, 0.7 - 0.6]):
        found = corrected_t_test(values, 10, 5)
        assert all(map(math.isnan, (found.low, found.high, found.t, found.p)))
        assert found.difference == pytest.approx(values[0])
        assert corrected_interval(values, 10, 5, bounds=(0.0, 1.0)).as_json()["ci_low"] is None
    with pytest.raises(SlicecacheError, match="at least two folds, found 1"):
        corrected_t_test([0.5, float("nan")], 10, 5)


def test_seeds_are_no_replicates():
    values = [((0, 0), 0.6), ((0, 1), 0.9), ((0, 0), 0.8), ((0, 1), 0.5)]
    assert mean_over_seeds(values).tolist() == pytest.approx([0.7, 0.7])
    assert mean_over_seeds({(0, 0): [0.6, 0.8], (0, 1): [1.0]}).tolist() == pytest.approx([0.7, 1.0])


def slow_holm(p):
    """Step down: the smallest p times m, the next times m - 1, never below the one before."""
    left, adjusted, floor = sorted(range(len(p)), key=lambda i: p[i]), [0.0] * len(p), 0.0
    for rank, index in enumerate(left):
        floor = max(floor, min(1.0, p[index] * (len(p) - rank)))
        adjusted[index] = floor
    return adjusted


def test_holm():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    p = np.random.default_rng(2).uniform(0, 0.2, 11).tolist()
    assert holm(p) == pytest.approx(slow_holm(p))
    assert holm([]) == []


def test_permutation_p_counts_the_observed_one():
    assert permutation_p(0.8, [0.5, 0.8, 0.9, 0.3]) == pytest.approx(3 / 5)
    assert permutation_p(0.8, [0.1] * 19) == pytest.approx(1 / 20)
    assert permutation_p(0.8, [0.1, float("nan")]) == pytest.approx(2 / 3)


def test_bootstrap_covers_the_truth_about_as_often_as_it_says():
    generator = np.random.default_rng(4)
    truth, hits = stats.norm.cdf(1 / math.sqrt(2)), 0
    for trial in range(60):
        y = np.repeat([0, 1], [43, 37])
        score = generator.normal(0, 1, 80) + y
        scores = Scores((), y, np.stack([np.zeros(80), score], axis=1))
        found = bootstrap_intervals(scores, one_by_one(measure), n=150, seed=trial)["auroc"]
        hits += found.low <= truth <= found.high
        assert found.low < found.value < found.high
    assert 50 <= hits <= 60
