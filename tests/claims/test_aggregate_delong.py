"""DeLong's fast form against the pairs written out, ties included."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from aggregate.statistics.delong import delong_covariance, delong_interval, delong_test
from aggregate.statistics.metrics import auroc
from cache_schema.common.errors import SlicecacheError

pytestmark = pytest.mark.numerics


def written_out(y, scores):
    """DeLong 1988, equations 2 to 5, pair by pair."""

    def kernel(a, b):
        return 1.0 if a > b else 0.5 if a == b else 0.0

    positive = [i for i, label in enumerate(y) if label == 1]
    negative = [i for i, label in enumerate(y) if label == 0]
    m, n, found = len(positive), len(negative), []
    for row in scores:
        above = [sum(kernel(row[i], row[j]) for j in negative) / n for i in positive]
        below = [sum(kernel(row[i], row[j]) for i in positive) / m for j in negative]
        found.append((sum(above) / m, above, below))
    covariance = [[0.0] * len(scores) for _ in scores]
    for r, s in itertools.product(range(len(scores)), repeat=2):
        (one, a, b), (two, c, d) = found[r], found[s]
        s10 = sum((p - one) * (q - two) for p, q in zip(a, c, strict=True)) / (m - 1)
        s01 = sum((p - one) * (q - two) for p, q in zip(b, d, strict=True)) / (n - 1)
        covariance[r][s] = s10 / m + s01 / n
    return [value for value, _, _ in found], covariance


@pytest.mark.parametrize("levels", [None, 7, 2])
def test_the_fast_form_is_the_slow_one(levels):
    generator = np.random.default_rng(0)
    y = generator.permutation(np.repeat([0, 1], [23, 14]))
    scores = generator.normal(0, 1, (3, 37)) + 0.7 * y
    if levels is not None:
        scores = np.floor(scores * levels / 4)
    found, covariance = delong_covariance(y, scores)
    value, slow = written_out(y.tolist(), scores.tolist())
    assert found == pytest.approx(np.array(value), abs=1e-12)
    assert found == pytest.approx(np.array([auroc(y, row) for row in scores]), abs=1e-12)
    assert covariance == pytest.approx(np.array(slow), abs=1e-12)
    z = (value[0] - value[1]) / math.sqrt(slow[0][0] + slow[1][1] - 2 * slow[0][1])
    test = delong_test(y, scores[0], scores[1])
    assert test.z == pytest.approx(z, abs=1e-9)
    assert test.p == pytest.approx(math.erfc(abs(z) / math.sqrt(2)), abs=1e-9)
    assert (test.low > 0 or test.high < 0) == (test.p < 0.05)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(st.booleans(), st.integers(-3, 3), st.integers(-3, 3)), min_size=4, max_size=20
    ).filter(lambda rows: 2 <= sum(row[0] for row in rows) <= len(rows) - 2)
)
def test_any_ties(rows):
    y, one, two = (np.array(column, dtype=np.int64) for column in zip(*rows, strict=True))
    found, covariance = delong_covariance(y, np.stack([one, two]))
    value, slow = written_out(y.tolist(), [one.tolist(), two.tolist()])
    assert found == pytest.approx(np.array(value), abs=1e-12)
    assert covariance == pytest.approx(np.array(slow), abs=1e-12)


def test_only_ranks_count():
    generator = np.random.default_rng(3)
    y, one, two = np.repeat([0, 1], [11, 8]), generator.normal(0, 1, 19), generator.normal(0, 1, 19)
    assert delong_test(y, one, two).p == pytest.approx(delong_test(y, np.exp(one), 3 * two + 1).p, abs=1e-12)


def test_models_that_rank_alike():
    y, score = np.array([0, 0, 1, 1, 1]), np.array([0.1, 0.7, 0.3, 0.5, 0.9])
    assert delong_test(y, score, 2 * score).p == 1.0
    # Both are perfect in their way, so there is no spread and nothing to test with.
    assert math.isnan(delong_test(y, y.astype(float), -y.astype(float)).p)


def test_the_interval():
    generator = np.random.default_rng(5)
    y = np.repeat([0, 1], [19, 13])
    score = generator.normal(0, 1, 32) + y
    found = delong_interval(y, score, level=0.9)
    (value,), ((variance,),) = written_out(y.tolist(), [score.tolist()])
    half = stats.norm.ppf(0.95) * math.sqrt(variance)
    assert (found.value, found.low, found.high) == pytest.approx(
        (value, value - half, value + half), abs=1e-9
    )
    assert delong_interval(y, y.astype(float)).high == 1.0


def test_a_class_of_one_has_no_spread():
    with pytest.raises(SlicecacheError, match="two participants of each class, found 1 positive and 3 neg"):
        delong_interval(np.array([0, 0, 0, 1]), np.arange(4.0))
