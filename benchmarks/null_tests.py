"""The tests whose rates `null_cohorts.py` counts: ours as the software has them, and what others do."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from made_up_cohorts import (
    FOLDS,
    Division,
    Floats,
    divide,
    draw,
    fit,
    fold_aurocs,
    out_of_fold,
    permuted,
    with_intercept,
)
from scipy import stats

from aggregate.cohort.folds import deal
from aggregate.statistics.bootstrap import bootstrap_intervals
from aggregate.statistics.corrected import (
    SHARED_PAIRS,
    TEST_SHARE,
    Interval,
    Overlap,
    corrected_interval,
    corrected_t_test,
)
from aggregate.statistics.delong import delong_interval, delong_test
from aggregate.statistics.holm import holm
from aggregate.statistics.metrics import Scores, auroc
from aggregate.statistics.permutation import permutation_p

LEVEL, PERMUTATIONS, DRAWS, INNER = 0.05, 99, 500, 3
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
        return corrected_interval(values, train, test, overlap=overlap)

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


def choose_inside(x: Floats, outer: Division) -> np.ndarray:
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


def excludes(interval: Interval, value: float = 0.5) -> bool:
    """Whether an interval leaves chance out."""
    return bool(interval.low > value or interval.high < value)


def best(look: Look) -> Floats:
    """Values of the grid point with the highest mean (repeat x fold,)."""
    return look.grid[look.grid.mean(axis=1).argmax()]


def plain(values: Floats, null: float) -> bool:
    """A t-test that takes folds for independent."""
    return bool(stats.ttest_1samp(values, null).pvalue <= LEVEL)


def bootstrap(look: Look) -> Interval:
    """Over outside participants, of one fixed model."""
    logits = np.stack([np.zeros(len(look.division.y)), look.fixed[1]], axis=1)

    def metrics(scores: Scores) -> Mapping[str, float]:
        return {"auroc": auroc(scores.y, scores.logits[:, 1])}

    return bootstrap_intervals(Scores((), look.division.y, logits), metrics, n=DRAWS)["auroc"]


def delong_differs(look: Look, scores: Floats) -> bool:
    """DeLong's test of the first two rows."""
    return delong_test(look.division.y, scores[1], scores[0]).p <= LEVEL


def delong_excludes(look: Look, scores: Floats) -> bool:
    """DeLong's interval of the second row."""
    return excludes(delong_interval(look.division.y, scores[1]))


@dataclass(frozen=True, slots=True)
class Test:
    """A test, what it asks, and whether the software does it."""

    name: str
    question: str
    """`chance` or `equal`"""
    ours: bool
    says: Callable[[Look], bool]


def corrected(overlap: Overlap, label: str) -> tuple[Test, ...]:
    """The tests that stand on the corrected variance."""

    def test(name: str, question: str, says: Callable[[Look], bool]) -> Test:
        return Test(f"{name}, {label}", question, True, says)

    return (
        test("t-test of two", "equal", lambda k: k.p(k.difference, overlap) <= LEVEL),
        test("t-test of two in one repeat", "equal", lambda k: k.p(k.difference[:FOLDS], overlap) <= LEVEL),
        test("Holm over four: any", "equal", lambda k: min(holm(k.against_reference(overlap))) <= LEVEL),
        test("interval", "chance", lambda k: excludes(k.interval(k.values[1], overlap))),
        test(
            "interval of one repeat", "chance", lambda k: excludes(k.interval(k.values[1, :FOLDS], overlap))
        ),
        test("nested choice of 25", "chance", lambda k: excludes(k.interval(k.nested, overlap))),
    )


def shuffled(look: Look) -> bool:
    """The p of shuffled labels."""
    return permutation_p(float(look.values[1].mean()), look.null) <= LEVEL


FIXED = (
    Test("shuffled labels", "chance", True, shuffled),
    Test("bootstrap, outside participants", "chance", True, lambda k: excludes(bootstrap(k))),
    Test("DeLong, outside participants", "chance", True, lambda k: delong_excludes(k, k.fixed)),
    Test("DeLong of two, outside participants", "equal", True, lambda k: delong_differs(k, k.fixed)),
)
OTHERS = (
    Test("plain t over folds x repeats", "chance", False, lambda k: plain(k.values[1], 0.5)),
    Test("plain paired t over folds x repeats", "equal", False, lambda k: plain(k.difference, 0.0)),
    Test("plain paired t in one repeat", "equal", False, lambda k: plain(k.difference[:FOLDS], 0.0)),
    Test("DeLong, pooled out-of-fold", "chance", False, lambda k: delong_excludes(k, k.scores[:, 0])),
    Test("DeLong of two, pooled out-of-fold", "equal", False, lambda k: delong_differs(k, k.scores[:, 0])),
    Test(
        "four t-tests without Holm: any, shared pairs",
        "equal",
        False,
        lambda k: min(k.against_reference(SHARED_PAIRS)) <= LEVEL,
    ),
    Test(
        "best of 25, its interval, Nadeau-Bengio",
        "chance",
        False,
        lambda k: excludes(k.interval(best(k), TEST_SHARE)),
    ),
    Test(
        "best of 25, its interval, shared pairs",
        "chance",
        False,
        lambda k: excludes(k.interval(best(k), SHARED_PAIRS)),
    ),
)
TESTS = (*corrected(TEST_SHARE, "Nadeau-Bengio"), *corrected(SHARED_PAIRS, "shared pairs"), *FIXED, *OTHERS)


def look(n: int, positives: int, shifts: tuple[float, ...], common: bool, seed: int) -> dict[str, Any]:
    """What every test says of one made-up cohort, and its AUROC within folds and pooled."""
    generator = np.random.default_rng([seed, n, positives])
    division = divide(n, positives)
    x, outside = (draw(division.y, shifts, generator, common) for _ in range(2))
    study = Look(division, x, outside, generator)
    pooled = np.mean([auroc(division.y, scores) for scores in study.scores[1]])
    return {test.name: bool(test.says(study)) for test in TESTS} | {
        "auroc": float(study.values[1].mean()),
        "auroc_pooled": float(pooled),
    }
