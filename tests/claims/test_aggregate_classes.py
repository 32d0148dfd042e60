"""Classes, pairs, confusion and calibration error against scikit-learn and references, with ties."""

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, precision_score, recall_score, roc_auc_score

from aggregate.evaluate.classes import calibration_by_class, classes_outside
from aggregate.evaluate.measure import Judged
from aggregate.statistics.classes.confusion import (
    called_classes,
    confusion_counts,
    confusion_table,
    mean_over,
)
from aggregate.statistics.classes.lines import class_lines
from aggregate.statistics.classes.measures import class_measures
from aggregate.statistics.classes.reliability import (
    calibration_error,
    classwise_error,
    error_if_calibrated,
    logit_of,
    reliability_bins,
)
from aggregate.statistics.delong import delong_interval
from aggregate.statistics.metrics import Scores, measure
from aggregate.statistics.recalibration import recalibrate


def drawn(seed, n_classes, n=90):
    """Scores with many ties: logits are whole numbers."""
    rng = np.random.default_rng(seed)
    y = np.concatenate([np.arange(n_classes), rng.integers(0, n_classes, n - n_classes)])
    logits = rng.integers(-2, 3, (n, n_classes)) + 1.0 * (y[:, None] == np.arange(n_classes))
    return Scores((), y, logits)


@pytest.mark.parametrize(("seed", "n_classes"), [(0, 3), (1, 4), (2, 5)])
def test_classes_and_pairs_are_scikit_learns(seed, n_classes):
    scores = drawn(seed, n_classes)
    y, p, found = scores.y, scores.probability(), class_measures(scores)
    called, every = p.argmax(1), range(n_classes)
    ovr = roc_auc_score(y, p, multi_class="ovr", average=None)
    np.testing.assert_allclose([found[f"{c}/auroc"] for c in every], ovr, atol=1e-9)
    recall = recall_score(y, called, average=None)
    np.testing.assert_allclose([found[f"{c}/sensitivity"] for c in every], recall, atol=1e-9)
    precision = precision_score(y, called, average=None)
    np.testing.assert_allclose([found[f"{c}/ppv"] for c in every], precision, atol=1e-9)
    matrix = confusion_matrix(y, called)
    right = [(len(y) - matrix[c].sum() - matrix[:, c].sum() + matrix[c, c]) / (y != c).sum() for c in every]
    np.testing.assert_allclose([found[f"{c}/specificity"] for c in every], right, atol=1e-9)
    pairs = [f"{a}/{b}" for a in every for b in range(a + 1, n_classes)]
    ovo = roc_auc_score(y, p, multi_class="ovo")
    assert np.mean([found[f"{pair}/hand_till"] for pair in pairs]) == pytest.approx(ovo, abs=1e-9)
    assert measure(scores)["auroc_pairwise"] == pytest.approx(ovo, abs=1e-9)
    assert measure(scores)["auroc"] == pytest.approx(roc_auc_score(y, p, multi_class="ovr"), abs=1e-9)
    for pair in pairs:
        a, b = map(int, pair.split("/"))
        rows = np.isin(y, (a, b))
        alone = roc_auc_score(y[rows] == b, scores.logits[rows, b] - scores.logits[rows, a])
        assert found[f"{pair}/auroc"] == pytest.approx(alone, abs=1e-9)


def test_no_temperature_changes_the_auroc_of_a_pair():
    scores = drawn(5, 3)
    warm, cold = class_measures(scores, temperature=3.0), class_measures(scores, temperature=0.3)
    assert {warm[f"{p}/auroc"] - cold[f"{p}/auroc"] for p in ("0/1", "0/2", "1/2")} == {0.0}


@pytest.mark.parametrize("n_classes", [2, 4])
def test_confusion_is_scikit_learns(n_classes):
    scores = drawn(3, n_classes)
    called = called_classes(scores, threshold=0.4)
    p = scores.probability()
    theirs = (p[:, 1] >= 0.4).astype(int) if n_classes == 2 else p.argmax(1)
    counts = confusion_counts(scores.y, called, n_classes)
    np.testing.assert_array_equal(counts, confusion_matrix(scores.y, theirs))
    table = confusion_table(list("wxyz")[:n_classes], counts)
    assert table.groupby("label")["share"].sum().tolist() == pytest.approx([1.0] * n_classes)
    assert table.query("label == 'x' and called == 'w'")["participants"].item() == counts[1, 0]


def test_a_class_that_nobody_is_called_has_no_predictive_value_and_an_absent_one_no_sensitivity():
    found = class_measures(Scores((), np.array([0, 1, 1]), np.array([[2.0, 1, 0], [3, 1, 0], [2, 3, 0]])))
    assert np.isnan(found["2/ppv"])
    assert np.isnan(found["2/sensitivity"])
    assert found["2/specificity"] == 1
    assert np.isnan(found["0/2/auroc"])
    assert found["1/ppv"] == 1


def slow_error(truth, p):
    """As the definition has it, for probabilities without ties whose number the bins divide."""
    bins = np.split(np.argsort(p), max(1, min(10, len(p) // 5)))
    return sum(len(b) / len(p) * abs(truth[b].mean() - p[b].mean()) for b in bins)


@pytest.mark.parametrize("n", [10, 50, 100, 500])
def test_the_calibration_error_is_its_definition(n):
    rng = np.random.default_rng(n)
    p, truth = rng.random(n), (rng.random(n) < 0.4).astype(float)
    assert float(calibration_error(truth, p)) == pytest.approx(slow_error(truth, p), abs=1e-12)
    order = rng.permutation(n)
    assert float(calibration_error(truth[order], p[order])) == pytest.approx(slow_error(truth, p), abs=1e-12)


def test_equal_probabilities_share_a_bin_so_that_no_order_matters():
    rng = np.random.default_rng(1)
    p = rng.integers(0, 4, 60) / 4
    bins = reliability_bins(p)
    assert all(len(set(bins[p == level])) == 1 for level in np.unique(p))
    assert set(bins) == set(range(bins.max() + 1))
    truth, order = (rng.random(60) < p).astype(float), rng.permutation(60)
    first, again = calibration_error(truth, p), calibration_error(truth[order], p[order])
    assert float(first) == pytest.approx(float(again), abs=1e-15)
    assert reliability_bins(np.full(40, 0.3)).tolist() == [0] * 40


def test_what_a_calibrated_model_would_have_covers_one_and_not_a_model_that_is_too_sure():
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(200):
        logits = rng.normal(size=(80, 3))
        p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        y = (rng.random((80, 1)) > p.cumsum(1)[:, :-1]).sum(1)
        usual = error_if_calibrated(p, seed=1)
        inside += usual.low <= classwise_error(y, p).mean() <= usual.high
    assert 180 <= inside <= 199  # of 95 %: the binomial 99.9 % band
    sure = np.exp(4 * logits) / np.exp(4 * logits).sum(1, keepdims=True)
    assert classwise_error(y, sure).mean() > error_if_calibrated(sure).high


def test_two_classes_have_one_error_that_of_the_positive_one():
    scores = drawn(4, 2)
    p = scores.probability()
    assert classwise_error(scores.y, p).tolist() == [float(calibration_error(scores.y == 1, p[:, 1]))]


def test_outside_training_single_classes_have_delong_wilson_and_wald():
    scores = drawn(6, 3, 120)
    judged, classes = Judged(scores), ("CN", "MCI", "AD")
    counts = {name: int((scores.y == c).sum()) for c, name in enumerate(classes)}
    found = classes_outside(judged, classes, counts, ordered=False)
    assert list(found) == ["per_class", "pairwise", "confusion"]
    row, p = found["per_class"]["MCI"], scores.probability()
    np.testing.assert_allclose(logit_of(scores, 1), np.log(p[:, 1] / (1 - p[:, 1])), atol=1e-9)
    theirs = delong_interval((scores.y == 1).astype(int), p[:, 1])
    assert row["auroc"]["ci_low"] == pytest.approx(theirs.low, abs=1e-9)
    assert row["n"] == counts["MCI"]
    slope = recalibrate((scores.y == 1).astype(int), logit_of(scores, 1)).slope
    assert row["calibration_slope"]["ci_high"] == pytest.approx(slope.high)
    assert [r["ece"].value for r in calibration_by_class(judged)] == classwise_error(scores.y, p).tolist()
    pair = found["pairwise"][1]
    assert (pair["classes"], pair["n"]) == (["CN", "AD"], [counts["CN"], counts["AD"]])
    rows = np.isin(scores.y, (0, 2))
    theirs = delong_interval(
        (scores.y[rows] == 2).astype(int), scores.logits[rows, 2] - scores.logits[rows, 0]
    )
    assert pair["auroc"]["ci_low"] == pytest.approx(theirs.low, abs=1e-9)


def test_of_ordered_classes_the_terminal_shows_who_is_called_what():
    counts = [[3.0, 1.0, 0.0], [1.0, 2.5, 0.5], [0.0, 0.0, 4.0]]
    shown = class_lines({"classes": ["CN", "MCI", "AD"], "confusion": {"counts": counts}})
    assert shown[0].split() == ["label", "\\", "called", "CN", "MCI", "AD"]
    assert shown[2].split() == ["MCI", "1.0", "2.5", "0.5"]
    two = {"classes": ["CN", "AD"], "confusion": {"counts": [[3.0, 1.0], [1.0, 3.0]]}}
    assert class_lines(two) == class_lines({"outcome": {}}) == []


def test_counts_that_are_a_mean_say_over_what():
    counts = [[3.0, 1.5, 0.0], [1.0, 2.5, 0.5], [0.0, 0.0, 4.0]]
    metrics = {"classes": ["CN", "MCI", "AD"], "confusion": {"counts": counts}, "n_repeats": 2, "n_seeds": 3}
    assert mean_over(metrics) == "2 repeats and 3 seeds"
    assert mean_over({**metrics, "n_seeds": 1}) == "2 repeats"
    assert mean_over({"n_repeats": 1, "n_seeds": 1}) == mean_over({"n_members": 6, "n_repeats": 2}) == ""
    assert class_lines(metrics)[0] == "participants, mean over 2 repeats and 3 seeds:"
    table = confusion_table(metrics["classes"], counts, mean_over(metrics))
    assert set(table["mean_over"]) == {"2 repeats and 3 seeds"}
    assert "mean_over" not in confusion_table(metrics["classes"], counts)
