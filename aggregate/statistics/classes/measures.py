"""Every class against the rest, and every two classes among their own participants.

Two numbers stand for a pair. `auroc` ranks its participants by the logarithm of the ratio of their two
probabilities, which is what a model of these two classes alone would rank by, and which no temperature
changes. `hand_till` is the mean of ranking by either probability (Hand and Till 2001); the mean of that over
all pairs is their M, `auroc_pairwise` among the metrics and scikit-learn's `multi_class="ovo"`.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from aggregate.common.arrays import Floats, Ints
from aggregate.statistics.metrics import Scores, auroc, one_vs_rest, pairwise_auroc, ratio

OF_CLASS = ("auroc", "auprc", "sensitivity", "specificity", "ppv")
OF_PAIR = ("auroc", "hand_till")


def class_measures(scores: Scores, threshold: float = 0.5, temperature: float = 1.0) -> dict[str, float]:
    """All of it under flat names: `2/ppv` of class 2, `0/2/auroc` of classes 0 and 2.

    Args:
        scores: By participant.
        threshold: Not used: the class called is the most probable one.
        temperature: Of the probabilities.
    """
    p = scores.probability(temperature)
    called = p.argmax(axis=1)
    found: dict[str, float] = {}
    for c, curve in enumerate(one_vs_rest(scores.y, p)):
        found |= {
            f"{c}/{name}": value for name, value in (curve | called_as(scores.y == c, called == c)).items()
        }
    thick = pairwise_auroc(scores.y, p)
    for a, b in combinations(range(p.shape[1]), 2):
        found[f"{a}/{b}/auroc"] = auroc_of_two(scores, a, b)
        found[f"{a}/{b}/hand_till"] = thick[a, b]
    return found


def called_as(truth: Ints, called: Ints) -> dict[str, float]:
    """Sensitivity, specificity and positive predictive value of one class (participant,)."""
    hits = int((truth & called).sum())
    return {
        "sensitivity": ratio(hits, int(truth.sum())),
        "specificity": ratio(int((~truth & ~called).sum()), int((~truth).sum())),
        "ppv": ratio(hits, int(called.sum())),
    }


def auroc_of_two(scores: Scores, a: int, b: int) -> float:
    """How well the log-ratio of two probabilities tells two classes apart, b being positive."""
    rows, ratios = two_only(scores, a, b)
    return auroc((scores.y[rows] == b).astype(np.int64), ratios)


def two_only(scores: Scores, a: int, b: int) -> tuple[Ints, Floats]:
    """Participants of two classes, and the log-ratio of their probabilities (participant,)."""
    rows = np.flatnonzero((scores.y == a) | (scores.y == b))
    return rows, np.asarray(scores.logits[rows, b] - scores.logits[rows, a])


def classes_json(
    classes: Sequence[str], counts: Mapping[str, int], found: Callable[[str], Mapping[str, Any]]
) -> dict[str, Any]:
    """The parts `per_class` and `pairwise` of a `metrics.json`.

    Args:
        classes: Labels, in the order of the logits.
        counts: Participants by label.
        found: Value and limits of what `class_measures` gives a name to.
    """
    several = range(len(classes))
    return {
        "per_class": {
            name: {"n": counts[name], **{metric: found(f"{c}/{metric}") for metric in OF_CLASS}}
            for c, name in enumerate(classes)
        },
        "pairwise": [
            {
                "classes": [classes[a], classes[b]],
                "n": [counts[classes[a]], counts[classes[b]]],
                **{metric: found(f"{a}/{b}/{metric}") for metric in OF_PAIR},
            }
            for a, b in combinations(several, 2)
        ],
    }
