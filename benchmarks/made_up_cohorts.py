"""Made-up cohorts and a classifier that costs next to nothing, so that 1,000 studies can be looked at.

A configuration sees its own columns of normal noise, in which positives may be shifted along the first.
Folds are dealt by the software's own `deal`, with the seeds that it gives. The classifier is least squares
on labels -1 and 1 with an L2 penalty and a free intercept, fitted on everybody outside the fold.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from aggregate.cohort.folds import deal
from aggregate.common.arrays import Floats, Ints

FOLDS, REPEATS, COLUMNS, SHARED, PENALTY = 5, 10, 8, 4, 1.0


@dataclass(frozen=True)
class Division:
    """Labels and repeated folds."""

    y: Ints
    """(participant,)"""
    hands: Ints
    """Fold in which a participant is tested (repeat, participant)."""

    @cached_property
    def outside(self) -> NDArray[np.bool_]:
        """Who is trained on: (repeat x fold, participant)."""
        folds = np.arange(self.hands.max() + 1)
        return (self.hands[:, None, :] != folds[:, None]).reshape(-1, self.hands.shape[1])

    @cached_property
    def n_train(self) -> Floats:
        """Participants outside each fold (repeat x fold,)."""
        return self.outside.sum(axis=1).astype(np.float64)

    @cached_property
    def n_test(self) -> Floats:
        """Participants in each fold (repeat x fold,)."""
        return len(self.y) - self.n_train

    @cached_property
    def pairs(self) -> tuple[Ints, Ints, Ints, Ints]:
        """Repeat, positive and negative of every pair in one fold, fold after fold; where folds start."""
        found, starts = [], [0]
        for repeat, hands in enumerate(self.hands):
            for hand in range(int(hands.max()) + 1):
                a, b = (np.flatnonzero((hands == hand) & (self.y == c)) for c in (1, 0))
                pair = np.stack([g.ravel() for g in np.meshgrid(a, b, indexing="ij")])
                found.append(np.concatenate([np.full((1, pair.shape[1]), repeat), pair]))
                starts.append(starts[-1] + pair.shape[1])
        repeats, positives, negatives = np.concatenate(found, axis=1)
        return repeats, positives, negatives, np.array(starts)


@lru_cache(maxsize=8)
def divide(n: int, positives: int, seed: int = 0) -> Division:
    """The first participants are the positives; five folds, ten repeats."""
    y = (np.arange(n) < positives).astype(np.int64)
    hands = [deal(y, FOLDS, np.random.default_rng([seed, repeat])) for repeat in range(REPEATS)]
    return Division(y, np.stack(hands))


def draw(y: Ints, shifts: tuple[float, ...], generator: np.random.Generator, common: bool = False) -> Floats:
    """What each configuration sees.

    Args:
        y: (participant,)
        shifts: Distance of the class means in standard deviations, per configuration.
        generator: Draws the noise.
        common: The first half of the columns, the shifted one with it, is the same for all.

    Returns:
        (configuration, participant, column)
    """
    x = generator.standard_normal((len(shifts), len(y), COLUMNS))
    if common:
        x[:, :, :SHARED] = x[0, :, :SHARED]
    x[:, :, 0] += np.multiply.outer(np.asarray(shifts), y)
    return x


def fit(x: Floats, y: Ints, rows: NDArray[np.bool_], penalty: float = PENALTY) -> Floats:
    """Weights of the classifier, intercept first, for every choice of rows.

    Args:
        x: (..., participant, column)
        y: (participant,)
        rows: Who is trained on (fit, participant).
        penalty: Of the squared weights, not of the intercept.

    Returns:
        (..., fit, 1 + column)
    """
    z = with_intercept(x)
    n, k = z.shape[-2:]
    products = (z[..., :, None] * z[..., None, :]).reshape(*z.shape[:-2], n, k * k)
    gram = (rows.astype(np.float64) @ products).reshape(*z.shape[:-2], len(rows), k, k)
    gram[..., np.arange(1, k), np.arange(1, k)] += penalty
    moments = rows.astype(np.float64) @ (z * (2.0 * y - 1)[:, None])
    return np.linalg.solve(gram, moments[..., None])[..., 0]


def with_intercept(x: Floats) -> Floats:
    """A column of ones in front."""
    return np.concatenate([np.ones((*x.shape[:-1], 1)), x], axis=-1)


def out_of_fold(x: Floats, division: Division, penalty: float = PENALTY) -> Floats:
    """Everybody's score from the fit that did not see them: (..., repeat, participant)."""
    weights = fit(x, division.y, division.outside, penalty)
    every = weights @ np.swapaxes(with_intercept(x), -1, -2)
    repeats, n = division.hands.shape
    every = every.reshape(*x.shape[:-2], repeats, -1, n)
    hands = division.hands[:, None, :].reshape((1,) * (every.ndim - 3) + (repeats, 1, n))
    return np.take_along_axis(every, hands, axis=-2)[..., 0, :]


def fold_aurocs(scores: Floats, division: Division) -> Floats:
    """AUROC within every fold, ties counted half.

    Args:
        scores: (..., repeat, participant)
        division: Its folds hold both classes.

    Returns:
        (..., repeat x fold)
    """
    repeat, positive, negative, starts = division.pairs
    a, b = scores[..., repeat, positive], scores[..., repeat, negative]
    above = (a > b) + 0.5 * (a == b)
    return np.add.reduceat(above, starts[:-1], axis=-1) / np.diff(starts)


def permuted(x: Floats, y: Ints, n: int, generator: np.random.Generator) -> Floats:
    """One configuration under `n` permutations of the labels, folds stratified anew with the same seed.

    With equal seeds `deal` gives the participants of a class the same hands by rank, whoever they are. So
    labels and folds may stay where they are, and the rows are moved under them.

    Returns:
        (permutation, participant, column)
    """
    orders = np.empty((n, len(y)), dtype=np.int64)
    for order in orders:
        shuffled = generator.permutation(y)
        for c in (0, 1):
            order[y == c] = np.flatnonzero(shuffled == c)
    return x[orders]
