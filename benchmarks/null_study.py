"""One made-up cohort and what a study of it computes: cross-validation, shuffled labels, a grid, a choice."""

from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import numpy as np
from made_up_cohorts import (
    Division,
    Floats,
    Ints,
    divide,
    fit,
    fold_aurocs,
    out_of_fold,
    permuted,
    with_intercept,
)

from aggregate.cohort.folds import deal
from aggregate.statistics.corrected import (
    SHARED_PAIRS,
    Interval,
    Overlap,
    corrected_interval,
    corrected_t_test,
)

PERMUTATIONS, INNER = 99, 3
PENALTIES = (0.1, 1.0, 10.0, 100.0, 1000.0)


@dataclass
class Look:
    """One made-up cohort, and what a study of it computes."""

    division: Division
    x: Floats
    """(configuration, participant, column)"""
    outside: Floats
    """As many other participants with the same labels, on whom nothing is ever trained."""
    generator: np.random.Generator
    scores: Floats = field(init=False)
    """(configuration, repeat, participant)"""
    values: Floats = field(init=False)
    """AUROC within folds (configuration, repeat x fold)."""

    def __post_init__(self) -> None:
        """Cross-validate every configuration."""
        self.scores = out_of_fold(self.x, self.division)
        self.values = fold_aurocs(self.scores, self.division)

    def interval(self, values: Floats, overlap: Overlap) -> Interval:
        """Of a mean over all folds, or over the first repeat's."""
        train, test = self.division.n_train[: len(values)], self.division.n_test[: len(values)]
        # Nadeau and Bengio's as others have it, ours as the software has it: inside what is possible.
        bounds = (0.0, 1.0) if overlap == SHARED_PAIRS else None
        return corrected_interval(values, train, test, bounds=bounds, overlap=overlap)

    def p(self, difference: Floats, overlap: Overlap) -> float:
        """Of a mean difference over all folds, or over the first repeat's."""
        train, test = self.division.n_train[: len(difference)], self.division.n_test[: len(difference)]
        return corrected_t_test(difference, train, test, overlap=overlap).p

    def against_reference(self, overlap: Overlap) -> list[float]:
        """P of the four comparisons with the reference."""
        return [self.p(values - self.values[0], overlap) for values in self.values[1:]]

    @property
    def difference(self) -> Floats:
        """Second configuration less reference (repeat x fold,)."""
        return self.values[1] - self.values[0]

    @cached_property
    def null(self) -> Floats:
        """Mean AUROC of the second configuration under permuted labels (permutation,)."""
        moved = permuted(self.x[1], self.division.y, PERMUTATIONS, self.generator)
        return fold_aurocs(out_of_fold(moved, self.division), self.division).mean(axis=-1)

    @cached_property
    def fixed(self) -> Floats:
        """Scores of the outside participants by models trained once, on the whole cohort."""
        weights = fit(self.x, self.division.y, np.ones((1, len(self.division.y)), dtype=np.bool_))
        return (with_intercept(self.outside) @ np.swapaxes(weights, -1, -2))[..., 0]

    @cached_property
    def grid(self) -> Floats:
        """A grid of 25, configurations x penalties (grid, repeat x fold)."""
        return np.concatenate(
            [fold_aurocs(out_of_fold(self.x, self.division, p), self.division) for p in PENALTIES]
        )

    @cached_property
    def nested(self) -> Floats:
        """Of every outer fold the value of what inner folds chose there (repeat x fold,)."""
        chosen = choose_inside(self.x, self.division)
        return self.grid[chosen, np.arange(len(chosen))]


@lru_cache(maxsize=2)
def inner_divisions(n: int, positives: int) -> tuple[Division, ...]:
    """Three inner folds of each outer training part; -1 marks the outer test part."""
    outer, found = divide(n, positives), []
    for rows in outer.outside:
        hands = np.full(n, -1, dtype=np.int64)
        hands[rows] = deal(outer.y[rows], INNER, np.random.default_rng([0, len(found), 2]))
        found.append(Division(outer.y, hands[None]))
    return tuple(found)


def choose_inside(x: Floats, outer: Division) -> Ints:
    """The grid point with the highest mean AUROC on inner folds, for every outer fold."""
    inner = inner_divisions(len(outer.y), int(outer.y.sum()))
    rows = np.concatenate([d.outside & (d.hands >= 0) for d in inner])
    z = np.swapaxes(with_intercept(x), -1, -2)
    found = []
    for penalty in PENALTIES:
        every = (fit(x, outer.y, rows, penalty) @ z).reshape(len(x), len(inner), INNER, -1)
        own = [np.take_along_axis(every[:, i], d.hands.clip(0)[None], axis=1) for i, d in enumerate(inner)]
        found.append([fold_aurocs(s, d).mean(axis=-1) for s, d in zip(own, inner, strict=True)])
    return np.argmax(np.concatenate(np.swapaxes(np.array(found), 1, 2)), axis=0)
