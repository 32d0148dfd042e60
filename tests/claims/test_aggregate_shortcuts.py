"""What tells sites and copies: found where planted, and at the stated rate where nothing is."""

import numpy as np
import pytest
from scipy import stats

from aggregate.shortcuts.association import association
from aggregate.shortcuts.copies import LEVEL, find_copies
from aggregate.shortcuts.nearness import directions, nearest_others, nearness_p
from aggregate.shortcuts.predictable import predict_site


def test_a_shift_of_the_site_is_predicted_and_nothing_is_not():
    stream = np.random.default_rng(0)
    x, site = stream.normal(size=(90, 24)), np.arange(90) % 3
    nothing, shifted = predict_site(x, site), predict_site(x + 4 * np.eye(24)[site], site)
    assert not nothing["told"]
    assert shifted["told"]
    assert shifted["auroc"]["value"] > 0.95
    assert shifted["guessing"] == {"auroc": 0.5, "balanced_accuracy": 1 / 3}
    assert shifted["n_sites"] == 3


def test_sites_are_told_by_chance_at_most_at_the_level():
    told = sum(
        predict_site(np.random.default_rng(seed).normal(size=(60, 6)), np.arange(60) % 2, seed)["told"]
        for seed in range(60)
    )
    assert told <= stats.binom.ppf(0.999, 60, 0.05)


def test_perfect_folds_without_spread_tell_sites():
    x = np.repeat([[0.0, 1.0], [9.0, 1.0]], 20, axis=0) + 0.1 * np.random.default_rng(0).normal(size=(40, 2))
    found = predict_site(x, np.repeat([0, 1], 20))
    assert (found["auroc"]["value"], found["auroc"]["ci_low"], found["told"]) == (1.0, None, True)


def test_a_large_cohort_is_drawn_from():
    stream = np.random.default_rng(0)
    site = (np.arange(5000) % 100 < 1).astype(np.int64)  # 50 of 5,000 at the second
    found = predict_site(stream.normal(size=(5000, 3)) + 5 * site[:, None], site)
    assert found["n_participants"] == 1000
    assert found["auroc"]["value"] > 0.99


def test_cramers_v_by_hand_and_its_p():
    counts = np.array([[18, 2], [2, 18]])
    n, chi2 = 40, 25.6
    phi2, smaller = chi2 / n - 1 / 39, 2 - 1 / 39 - 1
    found = association(counts)
    assert found["cramers_v"] == pytest.approx(np.sqrt(phi2 / smaller))
    assert found["p"] == 1 / 1000
    assert association(np.array([[9, 0], [7, 0]])) is None
    chance = [
        association(np.random.default_rng(s).multinomial(60, np.full(6, 1 / 6)).reshape(3, 2), s)
        for s in range(200)
    ]
    assert np.mean([one["p"] <= 0.05 for one in chance]) <= stats.binom.ppf(0.999, 200, 0.05) / 200


def brains(seed, n, dim=48, steep=6):
    """Vectors as tokens are: few directions hold most of the variance."""
    stream = np.random.default_rng(seed)
    turn = np.linalg.qr(stream.normal(size=(dim, dim)))[0]
    return stream.normal(size=(n, dim)) * np.exp(-np.arange(dim) / steep) @ turn


@pytest.mark.parametrize("n", [24, 60])
def test_copies_are_named_by_chance_at_most_at_the_level(n):
    people = [f"p{i}" for i in range(n)]
    named = sum(bool(find_copies(brains([seed, n], n), people)) for seed in range(200))
    assert named <= stats.binom.ppf(0.999, 200, LEVEL)


def test_copies_are_found_whatever_surrounds_them():
    x = brains(0, 60)
    x = np.concatenate([x, x[:3] + 0.02 * brains(1, 3), x[:1] + 0.02 * brains(2, 1)])
    people = [f"p{i}" for i in range(64)]
    pairs = {(a, b) for a, b, *_ in find_copies(x, people)}
    assert {(1, 61), (2, 62)} <= pairs
    assert {0, 60, 63} <= {row for pair in pairs for row in pair}  # one image three times
    assert len(pairs) <= 5


def test_sessions_of_one_participant_may_be_near():
    x = np.repeat(brains(3, 30), 2, axis=0)
    x += 0.01 * brains(4, 60)
    people = [f"p{i // 2}" for i in range(60)]
    assert find_copies(x, people) == []
    x[7] = x[12] + 1e-4
    assert {(a, b) for a, b, *_ in find_copies(x, people)} >= {(7, 12)}


def test_two_participants_of_a_site_of_their_own_are_no_copies():
    x = brains(5, 40)
    x[:2] += 3 * np.random.default_rng(0).normal(size=48) * x.std(axis=0)
    assert find_copies(x, [f"p{i}" for i in range(40)]) == []


def test_too_few_and_unvaried_rows_say_nothing():
    assert find_copies(brains(0, 7), list("abcdefg")) == []
    assert find_copies(np.ones((20, 4)), [str(i) for i in range(20)]) == []


def test_the_directions_of_a_cube_are_counted():
    x = np.random.default_rng(0).uniform(size=(2000, 3))
    distances, first = nearest_others(x, [str(i) for i in range(2000)])
    assert directions(distances) == pytest.approx(3, abs=0.4)
    p = nearness_p(distances)
    assert stats.kstest(p[p < 0.5] * 2, "uniform").statistic < 0.12
    assert first[0] == np.argsort(np.linalg.norm((x - x[0]) / x.std(axis=0), axis=1))[1]
