"""The integrated Brier score and Breslow's baseline hazard: against loops and scikit-survival."""

import numpy as np
import pytest

from aggregate.common.signed_times import events_of, signed_times, times_of
from aggregate.statistics.brier import (
    baseline_hazard,
    brier_scores,
    integrated_brier,
    score_times,
    without_event,
)
from aggregate.statistics.survival import kaplan_meier

SKSURV = "no release of scikit-survival beside this scikit-learn"


def made_up(n: int = 80, seed: int = 0, digits: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Signed times and risks, both with ties unless there are many digits."""
    generator = np.random.default_rng(seed)
    risk = generator.normal(size=n).round(1)
    time = 1 + (generator.exponential(np.exp(-risk)) * 20).round(digits)
    return signed_times(time, generator.random(n) < 0.6), risk


def test_breslow_is_the_sum_over_events_of_one_over_who_is_at_risk():
    signed, risk = made_up(40)
    weight = np.random.default_rng(5).uniform(0.2, 1, 40)
    times = np.array([0.0, 1.0, 4.0, 4.5, 20.0, 1e6])
    expected = []
    for t in times:
        total = 0.0
        for i in range(40):
            if 0 < signed[i] <= t:
                total += weight[i] / sum(
                    weight[j] * np.exp(risk[j]) for j in range(40) if abs(signed[j]) >= signed[i]
                )
        expected.append(total)
    found = baseline_hazard(signed, risk, weight, times)
    assert found == pytest.approx(np.array(expected), rel=1e-12)
    # A level of the risk cancels, however large.
    far = baseline_hazard(signed, risk + 500, weight, times)
    assert without_event(risk + 500, far) == pytest.approx(without_event(risk, found), abs=1e-9)
    assert without_event(np.array([800.0]), np.array([0.0, 1.0])).tolist() == [[1.0, 0.0]]


def test_the_score_is_graf_s_sum_over_everybody():
    """With ties of events, ends of observation and the times themselves: an event comes before an end."""
    signed, risk = made_up(30, 3)
    times = np.array([0.0, 2.0, 5.0, 9.0, 14.0])
    share = without_event(risk, baseline_hazard(signed, risk, np.ones(30), times))
    apart = np.where(signed > 0, -np.nextafter(signed, 0), -signed)  # ends of observation as events
    ended = kaplan_meier(apart)
    expected = []
    for k, t in enumerate(times):
        total = 0.0
        for i in range(30):
            if 0 < signed[i] <= t:
                total += share[i, k] ** 2 / ended.at(np.nextafter(signed[i], 0))
            elif abs(signed[i]) > t:
                total += (1 - share[i, k]) ** 2 / ended.at(t)
        expected.append(total / 30)
    assert brier_scores(signed, share, times) == pytest.approx(np.array(expected), abs=1e-12)
    halves = [(expected[k] + expected[k + 1]) / 2 * (times[k + 1] - times[k]) for k in range(4)]
    assert integrated_brier(signed, share, times) == pytest.approx(sum(halves) / 14, abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_the_numbers_are_scikit_survivals(seed):
    """Of times without ties: where events and ends of observation meet, ours has events first."""
    metrics = pytest.importorskip("sksurv.metrics", reason=SKSURV)
    signed, risk = made_up(seed=seed, digits=12)
    times = np.linspace(*np.quantile(times_of(signed), [0.1, 0.8]), 15)
    share = without_event(risk, baseline_hazard(signed, risk, np.ones(80), times))
    outcome = np.array([(s > 0, abs(s)) for s in signed], dtype=[("event", bool), ("time", float)])
    _, expected = metrics.brier_score(outcome, outcome, share, times)
    assert brier_scores(signed, share, times) == pytest.approx(expected, abs=1e-9)
    whole = metrics.integrated_brier_score(outcome, outcome, share, times)
    assert integrated_brier(signed, share, times) == pytest.approx(whole, abs=1e-9)


def test_the_baseline_hazard_is_scikit_survivals():
    linear = pytest.importorskip("sksurv.linear_model", reason=SKSURV)
    signed, x = made_up(60, 1)
    outcome = np.array([(s > 0, abs(s)) for s in signed], dtype=[("event", bool), ("time", float)])
    model = linear.CoxPHSurvivalAnalysis(alpha=0.1).fit(x[:, None], outcome)
    times = np.unique(times_of(signed))
    risk = model.predict(x[:, None])
    expected = np.stack([curve(times) for curve in model.predict_survival_function(x[:, None])])
    found = without_event(risk, baseline_hazard(signed, risk, np.ones(60), times))
    assert found == pytest.approx(expected, abs=1e-9)


def test_knowing_is_better_than_one_curve_and_too_sure_is_worse():
    signed, risk = made_up(400, 7, digits=6)
    times = score_times(signed)
    assert times[0] == 0
    assert times[-1] == pytest.approx(np.quantile(times_of(signed), 0.8))

    def score(own: np.ndarray) -> float:
        hazard = baseline_hazard(signed, own, np.ones(400), times)
        return integrated_brier(signed, without_event(own, hazard), times)

    assert score(risk) < score(0 * risk) < 0.25
    assert score(5 * risk) > score(risk)
    assert score(-risk) > score(0 * risk)


def test_where_it_is_not_defined_it_is_nan():
    signed, _ = made_up(20)
    late = np.array([times_of(signed).max(), 1e9])
    assert np.isnan(brier_scores(signed, np.ones((20, 2)), late)).all()
    assert np.isnan(integrated_brier(signed, np.ones((20, 2)), late))
    assert events_of(signed).any()
