"""How good predictions are, always counted over participants, never over sessions or slices.

Scores are formed first (`by_participant`: the mean logit over a participant's bags), then measured.
A measure that the labels at hand do not define (AUROC with one class) is NaN, never a guess.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aggregate.common.arrays import Floats, Ints
from aggregate.common.softmax import softmax
from cache_schema.common.errors import SlicecacheError

BINARY = (
    "auroc",
    "auprc",
    "balanced_accuracy",
    "mcc",
    "f1",
    "sensitivity",
    "specificity",
    "brier",
)
"""Names in the order of every table."""

BOUNDS = {"mcc": (-1.0, 1.0)}
"""Where a metric does not live in [0, 1]."""


GUESSING = 0.5
"""AUROC of scores that know nothing, of several classes too."""


@dataclass(frozen=True, slots=True)
class Scores:
    """One row per participant."""

    participant_id: tuple[str, ...]
    y: NDArray[Any]
    """Class index (participant,), or the numbers of a target without classes."""
    logits: Floats
    """(participant, class), or (participant, column): the mean over the participant's bags."""

    def probability(self, temperature: float = 1.0) -> Floats:
        """Softmax of the logits over a temperature: (participant, class)."""
        return softmax(self.logits / temperature)


def by_participant(participant_id: Sequence[str], y: Sequence[int] | Ints, logits: Floats) -> Scores:
    """Average the logits of each participant's bags; participants in order of first appearance.

    Args:
        participant_id: One per bag.
        y: Class index per bag.
        logits: (bag, class).

    Raises:
        SlicecacheError: If a participant's bags carry different labels.
    """
    first: dict[str, int] = {}
    group = np.array([first.setdefault(name, len(first)) for name in participant_id], dtype=np.int64)
    labels = np.asarray(y, dtype=np.int64)
    own = np.full(len(first), -1, dtype=np.int64)
    own[group] = labels
    if not np.array_equal(own[group], labels):
        torn = sorted({name for name, a, b in zip(participant_id, own[group], labels, strict=True) if a != b})
        raise SlicecacheError(f"a participant has one label, but {', '.join(torn)} has several")
    total = np.zeros((len(first), logits.shape[1]))
    np.add.at(total, group, np.asarray(logits, dtype=np.float64))
    return Scores(tuple(first), own, total / np.bincount(group, minlength=len(first))[:, None])


def means_by_participant(participant_id: Sequence[str], y: NDArray[Any], said: Floats) -> Scores:
    """Average outcomes that are numbers, and what is said of them, over each participant's bags.

    Args:
        participant_id: One per bag.
        y: Of every bag (bag,) or (bag, number); sessions may differ.
        said: (bag, column).
    """
    first: dict[str, int] = {}
    group = np.array([first.setdefault(name, len(first)) for name in participant_id], dtype=np.int64)
    count = np.bincount(group, minlength=len(first))

    def mean(values: NDArray[Any]) -> Floats:
        total = np.zeros((len(first), *values.shape[1:]))
        np.add.at(total, group, np.asarray(values, dtype=np.float64))
        return np.asarray(total / count.reshape(-1, *[1] * (values.ndim - 1)), dtype=np.float64)

    return Scores(tuple(first), mean(y), mean(said))


def measure(scores: Scores, threshold: float = 0.5, temperature: float = 1.0) -> dict[str, float]:
    """Binary metrics for two classes (positive last), macro one-vs-rest for more."""
    p = scores.probability(temperature)
    if p.shape[1] == 2:
        return binary_metrics(scores.y, p[:, 1], threshold)
    return multiclass_metrics(scores.y, p)


def auroc(y: Ints, p: Floats) -> float:
    """Probability that a positive scores above a negative, ties counted half (Mann-Whitney).

    Args:
        y: 1 for positive, 0 for negative.
        p: Any score that grows with the positive class.
    """
    positive = np.asarray(y) == 1
    n_positive, n_negative = int(positive.sum()), int((~positive).sum())
    if not n_positive or not n_negative:
        return float("nan")
    _, inverse, counts = np.unique(p, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]  # mean rank within a tie
    above = ranks[positive].sum() - n_positive * (n_positive + 1) / 2
    return float(above / (n_positive * n_negative))


def auprc(y: Ints, p: Floats) -> float:
    """Average precision: precision at each distinct score, weighted by the recall it adds."""
    positive = np.asarray(y) == 1
    if not positive.any() or positive.all():
        return float("nan")
    levels, inverse = np.unique(-np.asarray(p, dtype=np.float64), return_inverse=True)
    hits = np.bincount(inverse, weights=positive, minlength=len(levels))
    called = np.cumsum(np.bincount(inverse, minlength=len(levels)))
    return float(np.sum(hits * np.cumsum(hits) / called) / positive.sum())


def ratio(numerator: float, denominator: float) -> float:
    """A quotient, NaN where it is not defined."""
    return float(numerator / denominator) if denominator else float("nan")


def binary_metrics(y: Ints, p: Floats, threshold: float = 0.5) -> dict[str, float]:
    """The eight metrics of a two-class target.

    Args:
        y: 1 for positive, 0 for negative (participant,).
        p: Probability of the positive class (participant,).
        threshold: A participant is called positive when `p >= threshold`.
    """
    y, p = np.asarray(y), np.asarray(p, dtype=np.float64)
    called, positive = p >= threshold, y == 1
    tp, fp = int((called & positive).sum()), int((called & ~positive).sum())
    fn, tn = int((~called & positive).sum()), int((~called & ~positive).sum())
    sensitivity, specificity = ratio(tp, tp + fn), ratio(tn, tn + fp)
    return {
        "auroc": auroc(y, p),
        "auprc": auprc(y, p),
        "balanced_accuracy": (sensitivity + specificity) / 2,
        "mcc": matthews(np.array([[tn, fp], [fn, tp]])),
        "f1": ratio(2 * tp, 2 * tp + fp + fn),
        "sensitivity": sensitivity,
        "specificity": specificity,
        "brier": float(np.mean((p - positive) ** 2)) if len(y) else float("nan"),
    }


def matthews(confusion: NDArray[np.int64]) -> float:
    """Matthews correlation of a confusion matrix (true, called), for any number of classes.

    Gorodkin 2004; 0 when everything is called one class, as scikit-learn has it.
    """
    c = confusion.astype(np.float64)
    n, correct, true, called = c.sum(), np.trace(c), c.sum(axis=1), c.sum(axis=0)
    if not n:
        return float("nan")
    spread = (n**2 - called @ called) * (n**2 - true @ true)
    return float((correct * n - true @ called) / np.sqrt(spread)) if spread > 0 else 0.0


def multiclass_metrics(y: Ints, p: Floats) -> dict[str, float]:
    """Macro averages over one-vs-rest; the class called is the most probable one.

    `auroc_pairwise` is Hand and Till's M, the mean over all pairs of classes. `brier` is the mean over
    participants of half the squared distance to the one-hot label, so that two classes give the binary score.

    Args:
        y: Class index (participant,).
        p: Probabilities (participant, class).
    """
    y, p = np.asarray(y), np.asarray(p, dtype=np.float64)
    n_classes = p.shape[1]
    truth, called = np.eye(n_classes)[y], np.eye(n_classes)[p.argmax(axis=1)]
    confusion = truth.T @ called
    hits, own, given = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    curves = one_vs_rest(y, p)
    sensitivity = _mean_ratio(hits, own)
    return {
        "auroc": float(np.mean([m["auroc"] for m in curves])),
        "auprc": float(np.mean([m["auprc"] for m in curves])),
        "balanced_accuracy": sensitivity,
        "mcc": matthews(confusion.astype(np.int64)),
        "f1": _mean_ratio(2 * hits, own + given),
        "sensitivity": sensitivity,
        "specificity": _mean_ratio(len(y) - own - given + hits, len(y) - own),
        "brier": float(np.mean(((p - truth) ** 2).sum(axis=1) / 2)) if len(y) else float("nan"),
        "auroc_pairwise": float(np.mean(list(pairwise_auroc(y, p).values()))),
    }


def _mean_ratio(numerators: Floats, denominators: Floats) -> float:
    """Mean over classes (class,), NaN where one is not defined."""
    return float(np.mean([ratio(a, b) for a, b in zip(numerators, denominators, strict=True)]))


def one_vs_rest(y: Ints, p: Floats) -> list[dict[str, float]]:
    """AUROC and average precision of each class against all others, in class order."""
    y = np.asarray(y)
    return [
        {
            "auroc": auroc((y == c).astype(np.int64), p[:, c]),
            "auprc": auprc((y == c).astype(np.int64), p[:, c]),
        }
        for c in range(p.shape[1])
    ]


def pairwise_auroc(y: Ints, p: Floats) -> dict[tuple[int, int], float]:
    """AUROC of every pair of classes among their own participants (Hand and Till 2001).

    For a pair `(a, b)` it is the mean of ranking b by `p[:, b]` and a by `p[:, a]`.
    """
    y = np.asarray(y)
    pairs = {}
    for a in range(p.shape[1]):
        for b in range(a + 1, p.shape[1]):
            rows = (y == a) | (y == b)
            one = auroc((y[rows] == b).astype(np.int64), p[rows, b])
            two = auroc((y[rows] == a).astype(np.int64), p[rows, a])
            pairs[a, b] = (one + two) / 2
    return pairs
