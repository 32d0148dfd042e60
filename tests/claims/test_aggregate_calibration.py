"""Threshold and temperature against searching all of them."""

from types import SimpleNamespace

import numpy as np
import pytest
import sklearn.metrics as sk

from aggregate.common.softmax import softmax
from aggregate.statistics.calibration import Calibration, calibrate, fit_temperature, youden_threshold
from aggregate.statistics.metrics import Scores
from aggregate.train.calibrated import calibration_facts

pytestmark = pytest.mark.numerics


@pytest.mark.parametrize("seed", range(11))
def test_the_threshold_has_the_best_balanced_accuracy(seed):
    generator = np.random.default_rng(seed)
    y = np.concatenate([[0, 1], generator.integers(0, 2, 27)])
    p = np.round(np.clip(generator.normal(0.4 + 0.2 * y, 0.2), 0, 1), 1)
    chosen = youden_threshold(y, p)
    best = max(sk.balanced_accuracy_score(y, p >= t) for t in np.linspace(0, 1.01, 203))
    assert sk.balanced_accuracy_score(y, p >= chosen) == pytest.approx(best)


def test_of_equally_good_thresholds_the_nearest_to_a_half():
    assert youden_threshold(np.array([0, 0, 1, 1]), np.array([0.1, 0.3, 0.8, 0.9])) == 0.5
    assert youden_threshold(np.array([0, 1]), np.array([0.6, 0.9])) == pytest.approx(0.75)


def nll(logits, y, temperature):
    return -np.mean(np.log(softmax(logits / temperature)[np.arange(len(y)), y]))


@pytest.mark.parametrize("factor", [0.3, 1.0, 4.0])
def test_temperature_undoes_a_wrong_scale(factor):
    generator = np.random.default_rng(1)
    true = generator.normal(0, 1.5, (4001, 3))
    y = np.array([generator.choice(3, p=row) for row in softmax(true)])
    found = fit_temperature(true * factor, y)
    assert found == pytest.approx(factor, rel=0.1)
    grid = np.exp(np.linspace(np.log(0.05), np.log(20), 400))
    assert nll(true * factor, y, found) <= min(nll(true * factor, y, t) for t in grid) + 1e-9


def test_a_flat_loss_changes_nothing():
    assert fit_temperature(np.zeros((6, 2)), np.array([0, 1, 0, 1, 1, 0])) == 1.0


def test_without_validation_nothing_is_tuned():
    assert calibrate(None) == Calibration(0.5, 1.0)
    one_class = Scores(("a", "b"), np.array([1, 1]), np.array([[0.0, 1.0], [0.0, 3.0]]))
    assert calibrate(one_class) == Calibration()


def test_the_threshold_is_for_calibrated_probabilities():
    generator = np.random.default_rng(5)
    y = generator.integers(0, 2, 301)
    logits = np.stack([np.zeros(301), 3 * generator.normal(2 * y + 1, 1.0)], axis=1)
    scores = Scores(tuple(map(str, range(301))), y, logits)
    found = calibrate(scores)
    p = scores.probability(found.temperature)[:, 1]
    reached = sk.balanced_accuracy_score(y, p >= found.threshold)
    assert reached == pytest.approx(max(sk.balanced_accuracy_score(y, p >= t) for t in np.unique(p)))
    assert reached > sk.balanced_accuracy_score(y, p >= 0.5)


@pytest.mark.parametrize(
    ("rows", "within", "found", "place"),
    [
        (0, True, Calibration(0.4, 2.0), "inner folds"),
        (3, False, Calibration(0.4, 2.0), "validation part"),
        (3, False, Calibration(), "nothing"),
    ],
)
def test_what_a_run_learnt_its_calibration_on_is_counted(rows, within, found, place):
    inside = SimpleNamespace() if within else None
    run = SimpleNamespace(spec=SimpleNamespace(within=within, inside=inside, validation_rows=np.arange(rows)))
    outputs = [SimpleNamespace(calibration=found), SimpleNamespace(calibration=Calibration(0.6, 4.0))]
    facts = calibration_facts([run, run], outputs)
    assert facts["learnt_on"][place] == (1 if place == "nothing" else 2)
    assert facts["temperature"]["high"] == 4.0
    assert facts["threshold"]["median"] == pytest.approx((found.threshold + 0.6) / 2)
