"""Threshold and temperature, both learnt on validation rows inside the training part only."""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar

from aggregate.common.arrays import Floats, Ints
from aggregate.common.softmax import softmax
from aggregate.statistics.metrics import Scores

COLDEST, HOTTEST = 0.05, 20.0


@dataclass(frozen=True, slots=True)
class Calibration:
    """How logits become probabilities and calls."""

    threshold: float = 0.5
    """A participant is called positive when the calibrated probability is at least this."""
    temperature: float = 1.0
    """Logits are divided by it."""


def calibrate(validation: Scores | None) -> Calibration:
    """Temperature first, then the threshold on the probabilities it gives.

    Without validation participants, or with one class only among them, threshold 0.5 and temperature 1.

    Args:
        validation: Scores of participants that training did not use; never of the test part.
    """
    if validation is None or len(np.unique(validation.y)) < 2:
        return Calibration()
    temperature = fit_temperature(validation.logits, validation.y)
    if validation.logits.shape[1] != 2:
        return Calibration(temperature=temperature)
    probability = validation.probability(temperature)[:, 1]
    return Calibration(youden_threshold(validation.y, probability), temperature)


def youden_threshold(y: Ints, p: Floats) -> float:
    """The threshold with the largest sensitivity + specificity (the largest balanced accuracy).

    Candidates lie half-way between neighbouring distinct scores, and at 0.5; of equally good ones the
    nearest to 0.5 is taken, so that a separable validation part does not push it to an edge.

    Args:
        y: 1 for positive, 0 for negative; both occur.
        p: Probability of the positive class.
    """
    y, p = np.asarray(y), np.asarray(p, dtype=np.float64)
    levels = np.unique(p)
    candidates = np.append((levels[1:] + levels[:-1]) / 2, 0.5)
    positives, negatives = np.sort(p[y == 1]), np.sort(p[y == 0])
    sensitivity = 1 - np.searchsorted(positives, candidates, side="left") / len(positives)
    specificity = np.searchsorted(negatives, candidates, side="left") / len(negatives)
    youden = sensitivity + specificity
    best = candidates[youden >= youden.max() - 1e-12]
    return float(best[np.argmin(np.abs(best - 0.5))])


def fit_temperature(logits: Floats, y: Ints) -> float:
    """The temperature that minimises cross-entropy (Guo et al. 2017), kept within 0.05 and 20.

    Args:
        logits: (participant, class).
        y: Class index (participant,).
    """
    rows = np.arange(len(y))

    def loss(log_temperature: float) -> float:
        p = softmax(np.asarray(logits, dtype=np.float64) / np.exp(log_temperature))
        return float(-np.mean(np.log(np.maximum(p[rows, y], 1e-300))))

    found = minimize_scalar(loss, bounds=(np.log(COLDEST), np.log(HOTTEST)), method="bounded")
    # A flat loss (all logits equal) leaves the search anywhere; doing nothing is then the answer.
    return float(np.exp(found.x)) if loss(float(found.x)) < loss(0.0) else 1.0
