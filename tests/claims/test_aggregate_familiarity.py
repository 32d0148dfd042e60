"""The flag's stated rate on cohorts drawn alike, and the test of a batch, over made-up cohorts."""

import numpy as np
import pytest
import torch
from scipy import stats

from aggregate.bags.bags import Bags
from aggregate.predict.familiarity import (
    FLOOR,
    LEVEL,
    deal_hands,
    described,
    familiarity,
    fit_references,
    own_familiarity,
)
from aggregate.predict.shift import assigned_members, expected_share, flags_p, score_of, scores_p

DIM, DRAWS, BATCH = 23, 500, 40
KINDS = ("tails", "groups")


def tokens(stream: np.random.Generator, n: int, kind: str) -> np.ndarray:
    """Descriptions of `n` people: heavy tails, or two groups and a few strong directions."""
    x = stream.normal(size=(n, DIM))
    if kind == "tails":
        return x * np.sqrt(4 / stream.chisquare(4, size=(n, 1)))
    return (x + 3 * (stream.random((n, 1)) < 0.4)) * np.exp(-np.arange(DIM) / 4)


@pytest.fixture(scope="module")
def drawn() -> dict[tuple[int, str], np.ndarray]:
    """Flags of a batch held against cohorts drawn alike (draw, participant), by size and kind."""
    found = {}
    for n in (40, 100):
        for kind in KINDS:
            flags = []
            for draw in range(DRAWS):
                x = tokens(np.random.default_rng([n, draw]), n + BATCH, kind)
                flags.append(familiarity(fit_references(x[:n], deal_hands(n)), x[n:]).flagged)
            found[n, kind] = np.array(flags)
    return found


@pytest.mark.parametrize("n", [40, 100])
@pytest.mark.parametrize("kind", KINDS)
def test_the_flag_keeps_its_rate(drawn, n, kind):
    """One new participant per cohort: 500 independent draws, so the binomial 99 % band holds."""
    flags = drawn[n, kind]
    low, high = stats.binom.ppf([0.005, 0.995], DRAWS, expected_share(n))
    assert low <= flags[:, 0].sum() <= high
    # Over whole batches the rate is known far better: it is at most the stated one, and not idle.
    assert 0.6 * expected_share(n) <= flags.mean() <= 1.05 * LEVEL


@pytest.mark.parametrize("n", [40, 100])
def test_the_test_of_a_batch_keeps_its_level_and_a_binomial_one_would_not(drawn, n):
    for kind in KINDS:
        counts = drawn[n, kind].sum(axis=1)
        ours = np.mean([flags_p(k, BATCH, n) <= 0.05 for k in counts])
        assert ours <= stats.binom.ppf(0.995, DRAWS, 0.05) / DRAWS
    counts, rate = drawn[40, "tails"].sum(axis=1), expected_share(40)
    plain = np.mean([stats.binom.sf(k - 1, BATCH, rate) <= 0.05 for k in counts])
    assert plain > stats.binom.ppf(0.995, DRAWS, 0.05) / DRAWS


def test_p_counts_participants_that_lie_at_least_as_far():
    """Written out with a plain inverse of the whole covariance: few numbers keep every direction."""
    x = np.random.default_rng(0).normal(size=(31, 5))
    hands, new = deal_hands(31), np.random.default_rng(1).normal(size=(7, 5)) * 1.5
    found = familiarity(fit_references(x, hands), new)
    farther = np.zeros(7)
    for hand in range(5):
        rest = x[hands != hand]
        z = (rest - rest.mean(0)) / rest.std(0)
        shrunk = shrunk_covariance(z)
        held, own = ((y - rest.mean(0)) / rest.std(0) for y in (x[hands == hand], new))
        far, ours = (np.sqrt(np.einsum("ij,jk,ik->i", y, np.linalg.inv(shrunk), y)) for y in (held, own))
        farther += (far[None] >= ours[:, None]).sum(axis=1)
    np.testing.assert_allclose(found.p, (1 + farther) / 32)


def shrunk_covariance(z: np.ndarray) -> np.ndarray:
    from sklearn.covariance import ledoit_wolf

    return ledoit_wolf(z, assume_centered=True)[0]


def test_more_numbers_than_people_and_constant_ones():
    x = np.random.default_rng(2).normal(size=(40, 300)) * np.exp(np.linspace(-9, 3, 300))
    x[:, 7] = 4.0
    references = fit_references(x, deal_hands(40))
    moved = x[:5] + 0.0
    moved[:, 7] = 5.0
    assert familiarity(references, moved).flagged.all()
    assert np.isfinite(familiarity(references, x).distance).all()


def test_the_trainings_own_are_held_against_what_left_them_out():
    x = np.random.default_rng(3).normal(size=(60, 9))
    hands = deal_hands(60)
    references = fit_references(x, hands)
    own = own_familiarity(references, x, hands)
    assert sorted(np.round(own.p * 61)) == list(range(2, 62))
    assert own_familiarity(references, x + 9, hands).flagged.all()


def test_a_description_is_the_mean_and_the_steps():
    x = torch.from_numpy(np.random.default_rng(4).normal(size=(2, 5, 3)))
    keep = torch.tensor([[True] * 5, [True, False, False, False, False]])
    found = described(Bags(torch.where(keep[..., None], x, 0.0), keep, torch.zeros(2, 5)))
    own = x[0].numpy()
    np.testing.assert_allclose(found[0, :3], own.mean(0))
    steps = [own[i + 1] - own[i] for i in range(4)]
    np.testing.assert_allclose(found[0, 3:], np.log(np.sqrt(np.mean(np.square(steps), 0)) + FLOOR))
    np.testing.assert_allclose(found[1, 3:], np.log(FLOOR))


def test_scores_of_one_kind_are_compared():
    """Members' own scores keep the level; their mean, which spreads less, would not."""
    hits = {"own": 0, "mean": 0}
    for draw in range(400):
        stream = np.random.default_rng([9, draw])
        common, noise = stream.normal(size=(60, 1)), 1.2 * stream.normal(size=(60, 5))
        logits = common + noise
        trained = stream.normal(size=80) + 1.2 * stream.normal(size=80)
        chosen = logits[np.arange(60), assigned_members(60, [16] * 5)]
        hits["own"] += scores_p(chosen, trained)[1] <= 0.05
        hits["mean"] += scores_p(logits.mean(1), trained)[1] <= 0.05
    assert hits["own"] <= stats.binom.ppf(0.995, 400, 0.05)
    assert hits["mean"] > stats.binom.ppf(0.995, 400, 0.05)


def test_scores_and_members():
    np.testing.assert_allclose(score_of(np.array([[1.0, 4.0], [2.0, 0.5]])), [3.0, -1.5])
    np.testing.assert_allclose(score_of(np.array([[1.0, 4.0, 3.5]])), [0.5])
    assert np.bincount(assigned_members(30, [10, 20])).tolist() == [10, 20]
    assert flags_p(0, 9, 40) == pytest.approx(1.0)
    assert flags_p(9, 9, 15) == 1.0
