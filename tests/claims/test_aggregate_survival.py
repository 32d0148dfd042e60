"""Concordance, curves and the log-rank test, against loops, worked examples and scikit-survival."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregate.common.signed_times import events_of, signed_ranks, signed_times, strata_of, times_of
from aggregate.statistics.survival import at_risk, c_index, kaplan_meier, log_rank, unos_c

SKSURV = "no release of scikit-survival beside this scikit-learn"


def made_up(n: int = 80, seed: int = 0, digits: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Signed times and risks, both with ties unless there are many digits."""
    generator = np.random.default_rng(seed)
    risk = generator.normal(size=n).round(1)
    time = 1 + (generator.exponential(np.exp(-risk)) * 20).round(digits)
    return signed_times(time, generator.random(n) < 0.6), risk


def test_c_is_the_share_of_pairs_in_the_right_order():
    signed, risk = made_up(30)
    right = pairs = 0.0
    for i in range(30):
        for j in range(30):
            earlier = abs(signed[i]) < abs(signed[j]) or (abs(signed[i]) == abs(signed[j]) and signed[j] < 0)
            if signed[i] > 0 and earlier:
                pairs += 1
                right += 1.0 if risk[i] > risk[j] else 0.5 if risk[i] == risk[j] else 0.0
    assert c_index(signed, risk) == pytest.approx(right / pairs, abs=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_harrells_c_is_scikit_survivals(seed):
    metrics = pytest.importorskip("sksurv.metrics", reason=SKSURV)
    signed, risk = made_up(seed=seed)
    expected = metrics.concordance_index_censored(events_of(signed) == 1, times_of(signed), risk)[0]
    assert c_index(signed, risk) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_unos_c_is_scikit_survivals(seed):
    """Of times without ties: where events and ends of observation meet, ours has events first."""
    metrics = pytest.importorskip("sksurv.metrics", reason=SKSURV)
    (signed, risk), (train, _) = made_up(seed=seed, digits=12), made_up(120, seed + 50, digits=12)
    kind = [("event", bool), ("time", float)]
    inside = times_of(signed) < times_of(train).max()
    outer = np.array([(value > 0, abs(value)) for value in train], dtype=kind)
    inner = np.array([(value > 0, abs(value)) for value in signed[inside]], dtype=kind)
    expected = metrics.concordance_index_ipcw(outer, inner, risk[inside])[0]
    assert unos_c(signed[inside], risk[inside], train) == pytest.approx(expected, abs=1e-9)


def test_unos_c_without_censoring_is_harrells():
    signed, risk = made_up()
    seen = np.abs(signed)
    assert unos_c(seen, risk, np.append(seen, 999.0)) == pytest.approx(c_index(seen, risk), abs=1e-12)


def test_unos_weights_are_kaplan_and_meiers_of_the_ends_of_observation():
    """Pairs by hand, with scipy's curve of the ends; an event that is tied with an end comes before it."""
    signed, risk = made_up(40, 3)
    apart = np.where(signed > 0, -np.nextafter(signed, 0), -signed)
    ended = kaplan_meier(apart)
    right = total = 0.0
    for i in np.flatnonzero((signed > 0) & (signed < np.abs(signed).max())):
        weight = 1 / ended.at(np.nextafter(signed[i], 0)) ** 2
        later = (np.abs(signed) > signed[i]) | (signed == -signed[i])
        total += weight * later.sum()
        right += weight * (later * ((risk[i] > risk) + 0.5 * (risk[i] == risk))).sum()
    assert unos_c(signed, risk, signed) == pytest.approx(right / total, abs=1e-12)


cases = st.lists(st.tuples(st.integers(1, 9), st.booleans(), st.integers(-5, 5)), min_size=2, max_size=20)


@given(cases)
@settings(deadline=None, max_examples=60)
def test_c_reads_orders_alone_and_turns_with_the_risk(rows):
    time, event, risk = (np.array(column, dtype=np.float64) for column in zip(*rows, strict=True))
    signed = signed_times(time, event.astype(np.int64))
    found = c_index(signed, risk)
    others = [c_index(signed, np.exp(risk / 3)), c_index(np.sign(signed) * time**3, risk)]
    others += [c_index(signed_ranks(signed).astype(np.float64), risk), 1 - c_index(signed, -risk)]
    if np.isnan(found):
        assert np.isnan(others).all()
    else:
        assert others == pytest.approx([found] * 4, abs=1e-12)


def test_the_curve_is_that_of_a_worked_example():
    """Freireich's 21 leukaemia patients on 6-MP (1963), as in every textbook."""
    times = [6, 6, 6, -6, 7, -9, 10, -10, -11, 13, 16, -17, -19, -20, 22, 23, -25, -32, -32, -34, -35]
    placebo = [1, 1, 2, 2, 3, 4, 4, 5, 5, 8, 8, 8, 8, 11, 11, 12, 12, 15, 17, 22, 23]
    drug, other = np.array(times, dtype=np.float64), np.array(placebo, dtype=np.float64)
    curve = kaplan_meier(drug)
    shares = [curve.at(time) for time in (5, 6, 7, 10, 13, 16, 22, 23, 40)]
    assert shares == pytest.approx([1, 0.857, 0.807, 0.753, 0.690, 0.627, 0.538, 0.448, 0.448], abs=5e-4)
    assert (curve.median(), kaplan_meier(other).median()) == (23, 8)
    assert at_risk(drug, np.array([0.0, 6, 10, 22])) == [21, 21, 15, 7]
    # chi square 16.79 on one degree of freedom
    assert log_rank(drug, other) == pytest.approx(4.17e-5, rel=2e-3)


def test_curves_and_the_log_rank_test_are_scikit_survivals():
    nonparametric = pytest.importorskip("sksurv.nonparametric", reason=SKSURV)
    compare = pytest.importorskip("sksurv.compare", reason=SKSURV)
    signed, risk = made_up()
    event, time = events_of(signed) == 1, times_of(signed)
    at, share, interval = nonparametric.kaplan_meier_estimator(event, time, conf_type="log-log")
    curve = kaplan_meier(signed)
    np.testing.assert_array_equal(curve.time, at)
    np.testing.assert_allclose(curve.share, share, atol=1e-12)
    known = np.isfinite(curve.low) & (share < 1) & (share > 0)
    np.testing.assert_allclose([curve.low[known], curve.high[known]], interval[:, known], atol=1e-9)
    both = np.array(list(zip(event, time, strict=True)), dtype=[("event", bool), ("time", float)])
    _, p = compare.compare_survival(both, risk > 0)
    assert log_rank(signed[risk > 0], signed[risk <= 0]) == pytest.approx(p, rel=1e-6)


def test_what_cannot_be_told_is_not_a_number():
    censored, event = np.array([-1.0, -2.0]), np.array([3.0])
    assert np.isnan(c_index(censored, np.array([1.0, 0.0])))
    assert np.isnan(log_rank(censored, -event))
    assert np.isnan(log_rank(event, event[:0]))
    assert kaplan_meier(censored).median() is None


def test_strata_hold_events_and_others_by_their_times():
    generator = np.random.default_rng(0)
    signed = signed_times(generator.exponential(10, 64), np.arange(64) % 2)
    strata = strata_of(signed)
    assert np.bincount(strata).tolist() == [8] * 8
    for stratum in range(8):
        assert len(set(events_of(signed[strata == stratum]))) == 1
    assert strata_of(np.array([1.0, -2.0, 3.0])).tolist() == [1, 0, 1]


def test_the_benchmarks_cohorts_are_empty_unless_asked(monkeypatch):
    """What it draws has the share of events it says, and a hazard is there only when planted."""
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2] / "benchmarks"))
    from null_survival import draw

    for share in (0.3, 0.6):
        x, signed = draw(1500, share, 0.0, 1)
        assert events_of(signed).mean() == pytest.approx(share, abs=0.04)
        assert c_index(signed, x[0, :, 0]) == pytest.approx(0.5, abs=0.03)
    x, signed = draw(1500, 0.6, 0.7, 1)
    assert min(c_index(signed, own[:, 0]) for own in x) > 0.65
