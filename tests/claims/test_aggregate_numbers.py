"""Metrics of numbers and of ordered classes, against well-kept libraries and against loops."""

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as reference

from aggregate.cohort.task import Metric
from aggregate.statistics.bootstrap import bootstrap_difference, bootstrap_intervals, one_by_one
from aggregate.statistics.corrected import corrected_interval
from aggregate.statistics.evaluate import Measured, compare
from aggregate.statistics.metrics import Scores, means_by_participant
from aggregate.statistics.numbers import NUMBERS, number_metrics, numbers_of_draws
from aggregate.statistics.permutation import permutation_p
from aggregate.statistics.ranks import RANKS, c_index, expected_rank, quadratic_kappa, rank_metrics


@pytest.fixture
def numbers():
    rng = np.random.default_rng(0)
    y = rng.normal(60, 12, 41).round()  # with ties
    return y, 0.4 * y + 30 + rng.normal(0, 5, 41)


def test_metrics_of_numbers_are_those_of_scikit_learn_and_scipy(numbers):
    y, p = numbers
    found = number_metrics(y, p)
    assert list(found) == [metric.name for metric in NUMBERS]
    slope, intercept = np.polyfit(y, p - y, 1)
    low, high = np.quantile(y, [1 / 3, 2 / 3])
    expected = {
        "mae": reference.mean_absolute_error(y, p),
        "rmse": reference.root_mean_squared_error(y, p),
        "r2": reference.r2_score(y, p),
        "pearson": stats.pearsonr(y, p).statistic,
        "spearman": stats.spearmanr(y, p).statistic,
        "bias": (p - y).mean(),
        "bias_slope": slope,
        "bias_intercept": intercept,
        "mae_low": np.abs(p - y)[y < low].mean(),
        "mae_middle": np.abs(p - y)[(y >= low) & (y < high)].mean(),
        "mae_high": np.abs(p - y)[y >= high].mean(),
    }
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-9), name


def test_what_says_the_mean_of_everybody_has_no_worth_and_a_bias_of_minus_one(numbers):
    y, _ = numbers
    found = number_metrics(y, np.full(len(y), y.mean()))
    assert found["r2"] == pytest.approx(0, abs=1e-12)
    assert found["bias_slope"] == pytest.approx(-1)
    assert np.isnan(found["pearson"])
    assert np.isnan(found["spearman"])


def test_one_participant_has_an_error_and_no_correlation():
    found = number_metrics(np.array([50.0]), np.array([53.0]))
    assert found["mae"] == 3
    assert all(np.isnan(found[name]) for name in ("r2", "pearson", "spearman", "bias_slope"))
    assert all(np.isnan(value) for value in number_metrics(np.zeros(0), np.zeros(0)).values())


def test_a_participants_sessions_count_once():
    y = np.array([50.0, 52.0, 70.0])
    found = means_by_participant(["a", "a", "b"], y, np.array([[51.0], [55.0], [60.0]]))
    assert found.participant_id == ("a", "b")
    np.testing.assert_allclose(found.y, [51, 70])
    np.testing.assert_allclose(found.logits, [[53], [60]])


@pytest.fixture
def ranks():
    rng = np.random.default_rng(1)
    y = rng.integers(0, 4, 57)
    logits = rng.normal(size=(57, 4)) - 0.5 * (np.arange(4) - y[:, None]) ** 2
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return y, p


def test_metrics_of_ranks_are_those_of_scikit_learn_and_scipy(ranks):
    y, p = ranks
    found, called, score = rank_metrics(y, p), p.argmax(1), p @ np.arange(4)
    assert list(found) == [metric.name for metric in RANKS]
    kappa = reference.cohen_kappa_score(y, called, weights="quadratic")
    assert found["kappa"] == pytest.approx(kappa, rel=1e-9)
    assert found["mae_ranks"] == pytest.approx(reference.mean_absolute_error(y, score))
    assert found["spearman"] == pytest.approx(stats.spearmanr(y, score).statistic)
    assert found["balanced_accuracy"] == pytest.approx(reference.balanced_accuracy_score(y, called))
    somers = stats.somersd(y, score).statistic
    assert found["ordinal_c_index"] == pytest.approx((1 + somers) / 2, rel=1e-9)


def test_the_c_index_counts_pairs_and_is_the_auroc_of_two_classes(ranks):
    y, p = ranks
    score = expected_rank(p).round(1)  # with ties
    pairs = [(i, j) for i in range(57) for j in range(57) if y[i] > y[j]]
    right = sum((score[i] > score[j]) + 0.5 * (score[i] == score[j]) for i, j in pairs)
    assert c_index(y, score) == pytest.approx(right / len(pairs))
    two = y < 2
    assert c_index(y[two], score[two]) == pytest.approx(reference.roc_auc_score(y[two], score[two]))


def test_metrics_of_one_rank_alone_are_not_defined():
    assert np.isnan(c_index(np.array([2, 2]), np.array([0.1, 0.4])))
    assert np.isnan(quadratic_kappa(np.array([1, 1]), np.array([1, 1]), 3))


ERROR = NUMBERS[0]


def of_folds(name: str, *values: float, metric: Metric = ERROR) -> Measured:
    n = len(values)
    return Measured(name, {metric.name: np.array(values)}, np.full(n, 40.0), np.full(n, 10.0), metric)


def test_of_an_error_the_lower_one_is_better_and_no_bound_cuts_its_difference():
    found = compare(of_folds("a", 3.0, 4.1, 3.2, 3.9), of_folds("b", 9.0, 10.0, 9.3, 9.9))
    assert found is not None
    assert found["difference"] == pytest.approx(-6.0)
    assert found["ci_low"] < -6 < found["ci_high"] < -1
    assert found["as_guessing"] == []
    assert ERROR.gain(found["difference"]) > 0
    assert not RANKS[0].lower_is_better


def test_rounding_of_an_error_is_no_difference():
    found = compare(of_folds("a", 7.000001, 8.0, 7.5), of_folds("b", 7.0, 8.000002, 7.5))
    assert found is not None
    assert (found["difference"], found["p"]) == (0.0, None)


def test_the_interval_of_an_error_ends_at_nothing():
    found = corrected_interval([0.1, 2.0, 0.3], 20, 10, bounds=ERROR.bounds)
    assert found.low == 0
    assert found.high > 2


def test_a_permutation_that_errs_less_counts_against_the_result():
    gain = ERROR.gain
    assert permutation_p(gain(5.0), [gain(value) for value in (4.0, 6.0, 7.0)]) == pytest.approx(2 / 4)


def test_a_paired_bootstrap_sees_what_is_the_same_error_everywhere():
    rng = np.random.default_rng(3)
    y = rng.normal(50, 10, 60)
    noise = rng.normal(0, 6, 60)
    ours, other = (Scores((), y, (y + noise + shift)[:, None]) for shift in (0.0, 9.0))
    nobody = np.zeros(60, dtype=np.int64)

    def metrics(scores: Scores) -> dict[str, float]:
        return number_metrics(scores.y, scores.logits[:, 0])

    found = bootstrap_difference(ours, other, one_by_one(metrics), "mae", nobody, n=200)
    expected = metrics(ours)["mae"] - metrics(other)["mae"]
    assert found["difference"] == pytest.approx(expected)
    assert found["ci_low"] < expected < found["ci_high"] < 0
    assert found["p"] < 0.02
    same = bootstrap_difference(ours, ours, one_by_one(metrics), "mae", nobody, n=50)
    assert same["difference"] == 0
    assert np.isnan(same["p"])


@pytest.mark.parametrize("n", [1, 2, 7, 60])
def test_draws_measured_together_are_draws_measured_one_by_one(n, monkeypatch):
    monkeypatch.setattr("aggregate.statistics.bootstrap.AT_ONCE", 1000)
    rng = np.random.default_rng(n)
    y = rng.normal(50, 10, n).round()
    scores = Scores((), y, (y + rng.normal(0, 6, n))[:, None])
    ways = [
        lambda drawn, said: numbers_of_draws(drawn, said[..., 0]),
        one_by_one(lambda one: number_metrics(one.y, one.logits[:, 0])),
    ]
    nobody = np.zeros(n, dtype=np.int64)
    fast, slow = (bootstrap_intervals(scores, way, nobody, n=300) for way in ways)
    assert list(fast) == list(slow) == [metric.name for metric in NUMBERS]
    for name, found in fast.items():
        limits = [(each.value, each.low, each.high) for each in (found, slow[name])]
        assert limits[0] == pytest.approx(limits[1], rel=1e-9, abs=1e-9, nan_ok=True), name
