"""The tests whose rates `null_cohorts.py` counts: ours as the software has them, and what others do."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from made_up_cohorts import FOLDS, Floats, divide, draw
from null_study import Look
from scipy import stats

from aggregate.statistics.bootstrap import bootstrap_intervals, one_by_one
from aggregate.statistics.corrected import SHARED_PAIRS, TEST_SHARE, Interval, Overlap
from aggregate.statistics.delong import delong_interval, delong_test
from aggregate.statistics.holm import holm
from aggregate.statistics.metrics import Scores, auroc
from aggregate.statistics.permutation import permutation_p

LEVEL, DRAWS = 0.05, 500


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
        score = scores.logits[:, 1]
        return {"auroc": float((score[scores.y == 1][:, None] > score[scores.y == 0]).mean())}

    return bootstrap_intervals(Scores((), look.division.y, logits), one_by_one(metrics), n=DRAWS)["auroc"]


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
    """`chance` (is one above chance), `equal` (do two differ) or `models` (do two trained models differ)"""
    ours: bool
    says: Callable[[Look], bool]


def corrected(overlap: Overlap, label: str) -> tuple[Test, ...]:
    """The tests that stand on the corrected variance."""

    def test(name: str, question: str, says: Callable[[Look], bool]) -> Test:
        return Test(f"{name}, {label}", question, overlap == SHARED_PAIRS, says)

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
    Test("DeLong of two, outside participants", "models", True, lambda k: delong_differs(k, k.fixed)),
    Test("DeLong of two models given", "equal", True, lambda k: delong_differs(k, k.outside[:, :, 0])),
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
TESTS = (*corrected(SHARED_PAIRS, "shared pairs"), *FIXED, *corrected(TEST_SHARE, "Nadeau-Bengio"), *OTHERS)


def look(
    n: int,
    positives: int,
    shifts: tuple[float, ...],
    common: bool,
    seed: int,
    tests: Sequence[Test] = TESTS,
) -> dict[str, Any]:
    """What every test says of one made-up cohort, and its AUROC within folds and pooled."""
    generator = np.random.default_rng([seed, n, positives])
    division = divide(n, positives)
    x, outside = (draw(division.y, shifts, generator, common) for _ in range(2))
    study = Look(division, x, outside, generator)
    pooled = np.mean([auroc(division.y, scores) for scores in study.scores[1]])
    return {test.name: bool(test.says(study)) for test in tests} | {
        "auroc": float(study.values[1].mean()),
        "auroc_pooled": float(pooled),
    }
