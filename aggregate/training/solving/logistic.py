"""L2-penalised logistic regression of bags' vectors: the bar for every head, and where heads start.

Columns are standardised on the training rows; the strength of the penalty is chosen by three inner folds over
participants (lowest cross-entropy; the strongest penalty of equal ones). Solutions are kept by the numbers
that they follow from, since many runs of a study start at the same one.
"""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from aggregate.cohort.folds import deal
from aggregate.common.arrays import Floats, Ints
from aggregate.common.scaling import fit_scaling

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Inverse penalties (scikit-learn's C) that inner folds choose from."""
INNER_FOLDS = 3
FEW = 1e-2
"""The inverse penalty where a class has fewer participants than inner folds."""
ABSENT = 1e-9
"""Probability of a class that training never saw."""
KEPT = 4096
"""Solutions that are kept."""


@dataclass(frozen=True, slots=True)
class Solution:
    """A softmax over `weight @ z + bias` of standardised columns `z = (x - mean) / sd`."""

    mean: Floats
    """(column,)"""
    sd: Floats
    """(column,); 0 for a column that does not vary, which has weight 0."""
    weight: Floats
    """(class, column)"""
    bias: Floats
    """(class,)"""

    def outputs(self, x: Floats) -> Floats:
        """Of every row and output (row, output), as they are."""
        z = (x - self.mean) / np.where(self.sd > 0, self.sd, 1.0)
        return np.asarray(z @ self.weight.T + self.bias, dtype=np.float64)

    def log_probabilities(self, x: Floats) -> Floats:
        """Of every row and class (row, class)."""
        logits = self.outputs(x)
        top = logits.max(axis=1, keepdims=True)
        p = np.exp(logits - top - np.log(np.exp(logits - top).sum(axis=1, keepdims=True)))
        return np.asarray(np.log(p + ABSENT), dtype=np.float64)


def one_thread() -> Any:
    """Let linear algebra use one thread: many small fits on threads that wait for each other crawl.

    Measured on a busy machine with two cores: 0.6 s in place of 12 to 42 s for two folds of 300 bags.
    """
    from threadpoolctl import threadpool_limits  # comes with scikit-learn

    return threadpool_limits(1)


def solve_chosen(x: Floats, y: Ints, weight: Floats, group: Ints, labels: Ints, n_classes: int) -> Solution:
    """Choose the penalty inside these rows, then fit all of them; from memory where that was done before.

    Args:
        x: Rows as they are (bag, column).
        y: Class index (bag,).
        weight: (bag,)
        group: Participant of every bag (bag,), counting from 0.
        labels: Class index of every participant (participant,); one of no bag counts as none.
        n_classes: Number of classes.
    """

    def make() -> Solution:
        strength = choose_strength(x, y, weight, group, labels, n_classes)
        return solve(x, y, weight, n_classes, strength)

    return remembered(make, x, y, weight, group, labels, np.array([n_classes]))


def remembered(make: Callable[[], Solution], *follows_from: Any) -> Solution:
    """What `make` gives, on one thread; from memory where it was made of equal arrays before."""
    key = _digest(*follows_from)
    with _LOCK:
        if key in _KNOWN:
            _KNOWN.move_to_end(key)
            return _KNOWN[key]
    with one_thread():
        found = make()
    with _LOCK:
        _KNOWN[key] = found
        while len(_KNOWN) > KEPT:
            _KNOWN.popitem(last=False)
    return found


_LOCK = threading.Lock()
_KNOWN: OrderedDict[str, Solution] = OrderedDict()


def _digest(*arrays: Any) -> str:
    found = hashlib.sha256()
    for array in arrays:
        found.update(repr((array.dtype.str, array.shape)).encode())
        found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()


def solve(x: Floats, y: Ints, weight: Floats, n_classes: int, strength: float) -> Solution:
    """One fit. Without a column that varies it is the weighted share of each class.

    Args:
        x: Rows as they are (row, column).
        y: Class index per row; a class that does not occur gets probability 1e-9.
        weight: Of each row.
        n_classes: Number of classes.
        strength: Inverse penalty, scikit-learn's C.
    """
    return Rows(x, y, weight, n_classes).solve(strength)


def choose_strength(x: Floats, y: Ints, weight: Floats, group: Ints, labels: Ints, n_classes: int) -> float:
    """The inverse penalty with the lowest cross-entropy on inner folds; arguments as `solve_chosen`."""
    if np.bincount(labels, minlength=n_classes).min() < INNER_FOLDS:
        return FEW
    hand = deal(labels, INNER_FOLDS, np.random.default_rng(0))[group]
    losses = np.zeros(len(STRENGTHS))
    for inner in range(INNER_FOLDS):
        inside, out = hand != inner, hand == inner
        rows = Rows(x[inside], y[inside], weight[inside], n_classes)
        for index, strength in enumerate(STRENGTHS):
            logits = rows.solve(strength).log_probabilities(x[out])
            losses[index] -= float((weight[out] * logits[np.arange(len(logits)), y[out]]).sum())
    return STRENGTHS[int(np.argmin(losses))]


class Rows:
    """Rows to fit, standardised once for all strengths, in the space that they span."""

    def __init__(self, x: Floats, y: Ints, weight: Floats, n_classes: int) -> None:
        """Arguments as `solve`."""
        self.scale = fit_scaling(x)
        self.z, self.back = rotated(self.scale(x))
        self.y, self.weight, self.n_classes = y, weight, n_classes

    def solve(self, strength: float) -> Solution:
        """The fit of one strength."""
        from sklearn.linear_model import LogisticRegression

        weight, bias = self._shares()
        classes = np.unique(self.y)
        if self.z.shape[1] and len(classes) > 1:
            model = LogisticRegression(C=strength, max_iter=10_000)
            model.fit(self.z, self.y, sample_weight=self.weight)
            found, intercept = model.coef_, model.intercept_
            if len(classes) == 2:
                # Of two classes one row is fitted: the difference of a softmax's two.
                found, intercept = (np.concatenate([-part, part]) / 2 for part in (found, intercept))
            bias[:] = np.log(ABSENT)
            bias[classes] = intercept
            weight[np.ix_(classes, self.scale.sd > 0)] = found if self.back is None else found @ self.back
        return Solution(self.scale.mean, self.scale.sd, weight, bias)

    def _shares(self) -> tuple[Floats, Floats]:
        """Weight and bias that say each class's weighted share."""
        share = np.bincount(self.y, weights=self.weight, minlength=self.n_classes) / self.weight.sum()
        return np.zeros((self.n_classes, len(self.scale.sd))), np.log(share + ABSENT)


def rotated(z: Floats) -> tuple[Floats, Floats | None]:
    """Rows in the space that they span, when that is smaller, and the way back.

    An L2-penalised fit has no weight outside that space, so nothing changes but the time it takes.
    """
    if z.shape[0] >= z.shape[1]:
        return z, None
    u, s, vt = np.linalg.svd(z, full_matrices=False)
    return u * s, vt
