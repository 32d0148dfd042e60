"""Ridge regression of bags' vectors: the bar for heads that predict a number, and where they start.

Columns are standardised on the training rows, as for logistic regression. The strength of the penalty is
chosen by three inner folds over participants: the lowest squared error, the strongest penalty of equal ones.
"""

import numpy as np

from aggregate.cohort.folds import deal
from aggregate.common.arrays import Floats, Ints
from aggregate.common.scaling import fit_scaling
from aggregate.training.solving.logistic import INNER_FOLDS, Solution, remembered

STRENGTHS = (1e5, 1e4, 1e3, 1e2, 1e1, 1e0)
"""Penalties (scikit-learn's alpha) that inner folds choose from, the strongest first."""
FEW = 1e3
"""The penalty where participants are fewer than inner folds."""
LIGHT = 1.0
"""The penalty of a handful of columns."""


def solve_ridge_chosen(x: Floats, y: Floats, weight: Floats, group: Ints, strata: Ints) -> Solution:
    """Choose the penalty inside these rows, then fit all of them; from memory where that was done before.

    Args:
        x: Rows as they are (bag, column).
        y: Numbers (bag,).
        weight: (bag,)
        group: Participant of every bag (bag,), counting from 0.
        strata: What inner folds are dealt by (participant,).
    """

    def make() -> Solution:
        return Ridge(x, y, weight).solution(choose_penalty(x, y, weight, group, strata))

    return remembered(make, x, y, weight, group, strata)


def solve_ridge(x: Floats, y: Floats, weight: Floats, penalty: float = LIGHT) -> Solution:
    """One fit; arguments as `solve_ridge_chosen`."""
    return Ridge(x, y, weight).solution(penalty)


def choose_penalty(x: Floats, y: Floats, weight: Floats, group: Ints, strata: Ints) -> float:
    """The penalty with the lowest squared error on inner folds; arguments as `solve_ridge_chosen`."""
    if len(strata) < INNER_FOLDS:
        return FEW
    hand = deal(strata, INNER_FOLDS, np.random.default_rng(0))[group]
    losses = np.zeros(len(STRENGTHS))
    for inner in range(INNER_FOLDS):
        inside, out = hand != inner, hand == inner
        if not inside.any():
            continue
        fitted = Ridge(x[inside], y[inside], weight[inside])
        for index, penalty in enumerate(STRENGTHS):
            error = fitted.solution(penalty).outputs(x[out])[:, 0] - y[out]
            losses[index] += float((weight[out] * error**2).sum())
    return STRENGTHS[int(np.argmin(losses))]


class Ridge:
    """Rows, decomposed once for all penalties."""

    def __init__(self, x: Floats, y: Floats, weight: Floats) -> None:
        """Arguments as `solve_ridge`."""
        self.scale = fit_scaling(x)
        z = self.scale(x)
        self.z_mean, self.y_mean = weight @ z / weight.sum(), float(weight @ y / weight.sum())
        root = np.sqrt(weight)
        u, self.s, self.vt = np.linalg.svd(root[:, None] * (z - self.z_mean), full_matrices=False)
        self.along = u.T @ (root * (y - self.y_mean))

    def solution(self, penalty: float) -> Solution:
        """Minimise `sum_i w_i (y_i - b - v . z_i)^2 + penalty |v|^2`, as scikit-learn's `Ridge` does."""
        found = self.vt.T @ (self.s / (self.s**2 + penalty) * self.along)
        varies = self.scale.sd > 0
        weight = np.zeros((1, len(varies)))
        weight[0, varies] = found
        bias = np.array([self.y_mean - found @ self.z_mean])
        return Solution(self.scale.mean, self.scale.sd, weight, bias)
