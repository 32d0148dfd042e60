"""Calibration slope and intercept, and net benefit, against written-out references."""

import numpy as np
import pytest
from scipy import optimize, stats

from aggregate.statistics.decision import decision_curve
from aggregate.statistics.recalibration import recalibrate


def drawn(seed: int, n: int = 200, slope: float = 1.0, intercept: float = 0.0, scale: float = 2.0):
    """Labels whose log-odds are `intercept + slope * logit`."""
    stream = np.random.default_rng(seed)
    logit = scale * stream.normal(size=n)
    return (stream.random(n) < 1 / (1 + np.exp(-intercept - slope * logit))).astype(np.int64), logit


def loss(found, y, logit, slope=None):
    """Negative log-likelihood, written out."""
    a, b = (found[0], found[1]) if slope is None else (found[0], slope)
    return float(np.sum(np.logaddexp(0, a + b * logit) - y * (a + b * logit)))


@pytest.mark.parametrize(("seed", "scale"), [(0, 2.0), (1, 0.02), (2, 40.0)])
def test_slope_and_intercept_are_those_of_the_likelihoods_maximum(seed, scale):
    y, logit = drawn(seed, slope=0.6 * 2 / scale, intercept=0.4, scale=scale)
    found = recalibrate(y, logit)
    units = logit / scale
    both = optimize.minimize(loss, [0.0, 1.0], args=(y, units), tol=1e-12).x
    assert found.slope.value == pytest.approx(both[1] / scale, rel=1e-4)
    alone = optimize.minimize_scalar(lambda a: loss([a], y, logit, 1.0), tol=1e-12).x
    assert found.intercept.value == pytest.approx(alone, rel=1e-4, abs=1e-5)
    p = 1 / (1 + np.exp(-(both[0] + both[1] * units)))
    x = np.stack([np.ones(len(y)), logit], axis=1)
    error = np.sqrt(np.linalg.inv(x.T @ np.diag(p * (1 - p)) @ x)[1, 1])
    assert found.slope.high - found.slope.value == pytest.approx(stats.norm.ppf(0.975) * error, rel=1e-3)


def test_intervals_cover_the_truth():
    """400 cohorts: both intervals hold what labels were drawn from in 93 to 97 %, binomially 99.9 %."""
    held = np.zeros(2)
    for seed in range(400):
        found = recalibrate(*drawn(seed, slope=1.0, intercept=0.0))
        held += [found.slope.low <= 1 <= found.slope.high, found.intercept.low <= 0 <= found.intercept.high]
    low, high = stats.binom.ppf([0.0005, 0.9995], 400, 0.95)
    assert ((held >= low) & (held <= high)).all(), held


def test_a_model_that_is_too_sure_has_a_slope_below_one():
    y, logit = drawn(3, n=2000)
    assert recalibrate(y, 3 * logit).slope.high < 0.5
    assert recalibrate(y, logit - 1).intercept.low > 0.5


@pytest.mark.parametrize(
    ("y", "logit"),
    [([0, 0, 1, 1], [-2, -1, 1, 2]), ([1, 1, 1], [0.1, 0.2, 0.3]), ([0, 1, 0, 1], [0.5, 0.5, 0.5, 0.5])],
    ids=["separated", "one class", "one logit"],
)
def test_a_slope_that_does_not_exist_is_none(y, logit):
    found = recalibrate(np.array(y), np.array(logit, dtype=float))
    assert np.isnan([found.slope.value, found.slope.low, found.slope.high]).all()


def test_net_benefit_by_counting():
    y, logit = drawn(5, n=57)
    p = np.round(1 / (1 + np.exp(-logit)), 2)  # ties with the thresholds
    curve = decision_curve(y, p)
    for threshold, model, everybody in zip(curve.threshold, curve.model, curve.treat_all, strict=True):
        odds = threshold / (1 - threshold)
        called = p >= threshold
        assert model == pytest.approx((np.sum(called & (y == 1)) - odds * np.sum(called & (y == 0))) / 57)
        assert everybody == pytest.approx((np.sum(y == 1) - odds * np.sum(y == 0)) / 57)
