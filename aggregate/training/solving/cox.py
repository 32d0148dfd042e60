"""Cox regression with an L2 penalty on bags' vectors: the bar for survival, and where its heads start.

Columns are standardised on the training rows. The strength of the penalty is chosen by three inner folds over
participants, by the cross-validated partial likelihood of Verweij and van Houwelingen (1993): what all rows
together have beyond the rows of training, since the risk sets of a small part left out say little. Ties are
Efron's; see `losses/cox.py`, which has the same likelihood for heads.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from aggregate.cohort.folds import deal
from aggregate.common.arrays import Floats, Ints
from aggregate.common.scaling import fit_scaling
from aggregate.common.signed_times import events_of, times_of
from aggregate.training.solving.logistic import FEW, INNER_FOLDS, STRENGTHS, Solution, remembered, rotated

ONE = np.ones(1)


@dataclass(frozen=True, slots=True)
class RiskSets:
    """Who is at risk at each event; rows stand in the order of their times, the latest first.

    Events D at one time, of weight W, are spread over `m` steps: W rounded, at least 1 and at most as many
    as there are. Step l has the sum over who is at risk less `l / m` of the sum over D, and weighs `W / m`.
    """

    order: Ints
    """(row,)"""
    event: Ints
    """1 for an event (row,)."""
    weight: Floats
    """(row,)"""
    group: Ints
    """Index of the time (row,)."""
    step: Ints
    """The time that each step is of (step,)."""
    last: Ints
    """The last row at risk in each step (step,)."""
    share: Floats
    """`l / m` (step,)."""
    step_weight: Floats
    """(step,)"""


def risk_sets(signed: Floats, weight: Floats) -> RiskSets:
    """Sort rows by their times.

    Args:
        signed: Signed times (row,), see `common/signed_times.py`.
        weight: Of each row (row,), above 0.
    """
    order = np.argsort(-times_of(signed), kind="stable")
    event, own = events_of(signed[order]), weight[order]
    group = np.unique(-times_of(signed[order]), return_inverse=True)[1]
    total, number = np.bincount(group, weights=event * own), np.bincount(group, weights=event)
    steps = np.where(number > 0, np.clip(np.rint(total), 1, np.maximum(number, 1)), 0).astype(np.int64)
    step = np.repeat(np.arange(len(steps)), steps)
    place = np.arange(len(step)) - np.repeat(np.cumsum(steps) - steps, steps)
    last = np.searchsorted(group, step, side="right") - 1
    return RiskSets(order, event, own, group, step, last, place / steps[step], total[step] / steps[step])


class Likelihood:
    """The negative log partial likelihood of weights on columns, with slope and curvature."""

    def __init__(self, z: Floats, sets: RiskSets) -> None:
        """Hold columns (row, column) in the order of the rows as given."""
        self.z, self.sets = z[sets.order], sets

    def value(self, beta: Floats) -> float:
        """At these weights (column,)."""
        eta = self.z @ beta
        (_, _, below), top = self._sums(eta), eta.max()
        sets = self.sets
        return float(sets.step_weight @ (np.log(below) + top) - (sets.event * sets.weight) @ eta)

    def derivatives(self, beta: Floats) -> tuple[Floats, Floats]:
        """Slope (column,) and curvature (column, column)."""
        sets = self.sets
        hazard, tied, below = self._sums(self.z @ beta)
        pull = sets.step_weight / below
        n = len(hazard)
        until = np.bincount(sets.last, weights=pull, minlength=n)[::-1].cumsum()[::-1]
        less = np.bincount(sets.step, weights=pull * sets.share, minlength=len(tied))[sets.group]
        share = hazard * (until - sets.event * less)
        at_risk = (hazard[:, None] * self.z).cumsum(axis=0)[sets.last]
        own = np.zeros((len(tied), self.z.shape[1]))
        np.add.at(own, sets.group, (sets.event * hazard)[:, None] * self.z)
        means = (at_risk - sets.share[:, None] * own[sets.step]) / below[:, None]
        curvature = (self.z.T * share) @ self.z - (means.T * sets.step_weight) @ means
        return self.z.T @ (share - sets.event * sets.weight), curvature

    def _sums(self, eta: Floats) -> tuple[Floats, Floats, Floats]:
        """Hazards up to a factor (row,), their sum over each time's events, and over each step's risk set."""
        sets = self.sets
        hazard = sets.weight * np.exp(eta - eta.max())
        tied = np.asarray(np.bincount(sets.group, weights=sets.event * hazard), dtype=np.float64)
        return hazard, tied, np.cumsum(hazard)[sets.last] - sets.share * tied[sets.step]


def solve_cox_chosen(x: Floats, signed: Floats, weight: Floats, group: Ints, strata: Ints) -> Solution:
    """Choose the penalty inside these rows, then fit all of them; from memory where that was done before.

    Args:
        x: Rows as they are (bag, column).
        signed: Signed times (bag,).
        weight: (bag,)
        group: Participant of every bag (bag,), counting from 0.
        strata: What inner folds are dealt by, of every participant (participant,).
    """

    def make() -> Solution:
        return solve_cox(x, signed, weight, choose_strength(x, signed, weight, group, strata))

    return remembered(make, np.array([ord("c")]), x, signed, weight, group, strata)


def solve_cox(x: Floats, signed: Floats, weight: Floats, strength: float) -> Solution:
    """One fit: the log hazard ratio of every row is its only output.

    Args:
        x: Rows as they are (row, column).
        signed: Signed times (row,).
        weight: Of each row.
        strength: Inverse penalty, as scikit-learn's C.
    """
    return CoxRows(x, signed, weight).solve(strength)


def choose_strength(x: Floats, signed: Floats, weight: Floats, group: Ints, strata: Ints) -> float:
    """The inverse penalty with the highest cross-validated partial likelihood; arguments as above."""
    if len(np.unique(group[events_of(signed) == 1])) < 2 * INNER_FOLDS:
        return FEW
    hand = deal(strata, INNER_FOLDS, np.random.default_rng(0))[group]
    whole, losses = risk_sets(signed, weight), np.zeros(len(STRENGTHS))
    for inner in range(INNER_FOLDS):
        inside = hand != inner
        rows = CoxRows(x[inside], signed[inside], weight[inside])
        for index, strength in enumerate(STRENGTHS):
            risk = rows.solve(strength).outputs(x)
            losses[index] += Likelihood(risk, whole).value(ONE)
            losses[index] -= Likelihood(risk[inside], rows.sets).value(ONE)
    return STRENGTHS[int(np.argmin(losses))]


class CoxRows:
    """Rows to fit, standardised once for all strengths, in the space that they span."""

    def __init__(self, x: Floats, signed: Floats, weight: Floats) -> None:
        """Arguments as `solve_cox`."""
        self.scale = fit_scaling(x)
        self.z, self.back = rotated(self.scale(x))
        self.sets = risk_sets(signed, weight)

    def solve(self, strength: float) -> Solution:
        """The fit of one strength; without an event or a column that varies all weights are 0."""
        n_columns, weight = self.z.shape[1], np.zeros((1, len(self.scale.sd)))
        if n_columns and len(self.sets.step):
            likelihood = Likelihood(self.z, self.sets)
            beta = _minimum(likelihood, strength)
            weight[0, self.scale.sd > 0] = beta if self.back is None else beta @ self.back
        return Solution(self.scale.mean, self.scale.sd, weight, np.zeros(1))


def _minimum(likelihood: Likelihood, strength: float) -> Floats:
    """Weights with the least `likelihood + |beta|^2 / (2 strength)` (column,)."""

    def slope(beta: Floats) -> Floats:
        return likelihood.derivatives(beta)[0] + beta / strength

    def curvature(beta: Floats) -> Floats:
        return likelihood.derivatives(beta)[1] + np.eye(len(beta)) / strength

    found = minimize(
        lambda beta: likelihood.value(beta) + beta @ beta / (2 * strength),
        np.zeros(likelihood.z.shape[1]),
        jac=slope,
        hess=curvature,
        method="trust-exact",
        options={"gtol": 1e-9, "maxiter": 200},
    )
    return np.asarray(found.x, dtype=np.float64)
