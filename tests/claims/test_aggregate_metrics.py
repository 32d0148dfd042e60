"""Metrics against scikit-learn, and against counting by hand."""

import numpy as np
import pytest
import sklearn.metrics as sk
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregate.statistics.draws import binary_metrics_of_draws
from aggregate.statistics.metrics import (
    BINARY,
    auroc,
    binary_metrics,
    by_participant,
    matthews,
    measure,
    multiclass_metrics,
    one_vs_rest,
    pairwise_auroc,
    softmax,
)
from cache_schema.common.errors import SlicecacheError

pytestmark = pytest.mark.numerics


def pairs_won(y, p):
    """AUROC written out: every positive against every negative."""
    total = won = 0.0
    for i in range(len(y)):
        for j in range(len(y)):
            if y[i] == 1 and y[j] == 0:
                total += 1
                won += 1.0 if p[i] > p[j] else 0.5 if p[i] == p[j] else 0.0
    return won / total


# Few distinct scores, so that ties are the rule.
labelled = st.lists(
    st.tuples(st.integers(0, 1), st.sampled_from([0.0, 0.2, 0.5, 0.50001, 0.9, 1.0])), min_size=2, max_size=37
).filter(lambda rows: len({y for y, _ in rows}) == 2)


@pytest.mark.parametrize("n", [1, 2, 9, 60])
def test_all_draws_of_a_bootstrap_are_measured_as_each_of_them(n):
    generator = np.random.default_rng(n)
    y, p = generator.integers(0, 2, (200, n)), generator.uniform(0, 1, (200, n)).round(1)  # with ties
    found, alone = (
        binary_metrics_of_draws(y, p, 0.4),
        [binary_metrics(*one, 0.4) for one in zip(y, p, strict=True)],
    )
    assert tuple(found) == BINARY
    for name, values in found.items():
        np.testing.assert_allclose(values, [one[name] for one in alone], rtol=1e-12, atol=1e-12)


@settings(max_examples=150, deadline=None)
@given(labelled, st.sampled_from([0.0, 0.2, 0.5, 0.7]))
def test_binary_metrics_are_scikit_learns(rows, threshold):
    y, p = np.array([r[0] for r in rows]), np.array([r[1] for r in rows])
    called = (p >= threshold).astype(int)
    found = binary_metrics(y, p, threshold)
    assert tuple(found) == BINARY
    assert found["auroc"] == pytest.approx(sk.roc_auc_score(y, p), abs=1e-9)
    assert found["auroc"] == pytest.approx(pairs_won(y, p), abs=1e-12)
    assert found["auprc"] == pytest.approx(sk.average_precision_score(y, p), abs=1e-9)
    assert found["balanced_accuracy"] == pytest.approx(sk.balanced_accuracy_score(y, called), abs=1e-12)
    assert found["mcc"] == pytest.approx(sk.matthews_corrcoef(y, called), abs=1e-9)
    assert found["f1"] == pytest.approx(sk.f1_score(y, called, zero_division=np.nan), nan_ok=True)
    assert found["sensitivity"] == pytest.approx(sk.recall_score(y, called))
    assert found["specificity"] == pytest.approx(sk.recall_score(1 - y, 1 - called))
    assert found["brier"] == pytest.approx(sk.brier_score_loss(y, p))


def test_what_is_not_defined_is_nan():
    found = binary_metrics(np.ones(3, dtype=int), np.array([0.1, 0.6, 0.9]))
    assert np.isnan(found["auroc"])
    assert np.isnan(found["auprc"])
    assert np.isnan(found["specificity"])
    assert found["sensitivity"] == pytest.approx(2 / 3)
    assert all(np.isnan(v) for v in binary_metrics(np.array([], dtype=int), np.array([])).values())


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("n_classes", [3, 5])
def test_multiclass_metrics_are_scikit_learns(seed, n_classes):
    generator = np.random.default_rng(seed)
    y = np.concatenate([np.arange(n_classes), generator.integers(0, n_classes, 43)])
    logits = np.round(generator.standard_normal((len(y), n_classes)) + 1.5 * np.eye(n_classes)[y], 1)
    p = softmax(logits)
    called = p.argmax(axis=1)
    found = multiclass_metrics(y, p)
    assert tuple(found) == (*BINARY, "auroc_pairwise")
    assert found["auroc"] == pytest.approx(sk.roc_auc_score(y, p, multi_class="ovr"), abs=1e-9)
    assert found["auprc"] == pytest.approx(sk.average_precision_score(np.eye(n_classes)[y], p), abs=1e-9)
    assert found["balanced_accuracy"] == pytest.approx(sk.balanced_accuracy_score(y, called))
    assert found["mcc"] == pytest.approx(sk.matthews_corrcoef(y, called))
    assert found["f1"] == pytest.approx(sk.f1_score(y, called, average="macro"))
    hand_till = sk.roc_auc_score(y, p, multi_class="ovo")
    assert np.mean(list(pairwise_auroc(y, p).values())) == pytest.approx(hand_till, abs=1e-9)
    assert np.mean([m["auroc"] for m in one_vs_rest(y, p)]) == pytest.approx(found["auroc"])


def test_two_classes_give_one_brier_score():
    y, p = np.array([0, 1, 1, 0, 1]), np.array([0.2, 0.7, 0.4, 0.9, 0.5])
    both = np.stack([1 - p, p], axis=1)
    assert multiclass_metrics(y, both)["brier"] == pytest.approx(binary_metrics(y, p)["brier"])


def test_matthews_without_spread_is_zero():
    assert matthews(np.array([[5, 0], [3, 0]])) == 0.0


def test_scores_are_over_participants():
    names = ["b", "a", "b", "c", "b"]
    logits = np.array([[0.0, 3.0], [1.0, 0.0], [0.0, -6.0], [2.0, 2.5], [0.0, 0.0]])
    scores = by_participant(names, [1, 0, 1, 0, 1], logits)
    assert scores.participant_id == ("b", "a", "c")
    assert scores.y.tolist() == [1, 0, 0]
    assert scores.logits.tolist() == [[0.0, -1.0], [1.0, 0.0], [2.0, 2.5]]
    assert measure(scores)["auroc"] == auroc(scores.y, np.array([-1.0, -1.0, 0.5])) == 0.25
    hot = scores.probability(2.0)
    assert hot == pytest.approx(softmax(scores.logits / 2))
    with pytest.raises(SlicecacheError, match="b has several"):
        by_participant(names, [1, 0, 0, 0, 1], logits)


def test_softmax_stands_large_logits():
    assert softmax(np.array([[1000.0, 0.0], [-1000.0, 0.0]])) == pytest.approx(np.array([[1, 0], [0, 1]]))
