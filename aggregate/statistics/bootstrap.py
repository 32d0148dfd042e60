"""Intervals over resampled participants, for a fixed model and participants outside all its training."""

from collections.abc import Callable, Mapping

import numpy as np

from aggregate.common.arrays import Ints
from aggregate.statistics.corrected import Interval
from aggregate.statistics.metrics import Scores

BOOTSTRAP = "percentile bootstrap over the test participants, stratified by label, level 0.95"
"""`ci_method` of one given split, where the model is fixed and its test participants are outside it."""

BOOTSTRAP_NUMBERS = (
    "of a fixed model, over participants outside its training: percentile bootstrap over participants, "
    "paired in comparisons, level 0.95"
)
"""`ci_method` of a target that has no classes, or ordered ones, on a cohort outside training."""


def bootstrap_intervals(
    scores: Scores,
    metrics: Callable[[Scores], Mapping[str, float]],
    within: Ints | None = None,
    n: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, Interval]:
    """Percentile intervals over resampled participants, for a fixed model and participants outside it.

    Resampling is within each class, so that no sample loses one, or within what is given. A draw in which a
    metric is not defined is left out of that metric's interval.

    Args:
        scores: Of the test participants.
        metrics: Gives all metrics of a sample at once; every draw serves all of them.
        within: Group of every participant; by default their class.
        n: Draws.
        seed: Of the draws.
        level: Coverage.
    """
    generator = np.random.Generator(np.random.PCG64(seed))
    group = scores.y if within is None else within
    groups = [np.flatnonzero(group == c) for c in np.unique(group)]
    draws: dict[str, list[float]] = {}
    for _ in range(n):
        rows = np.concatenate([generator.choice(group, len(group)) for group in groups])
        for name, value in metrics(Scores((), scores.y[rows], scores.logits[rows])).items():
            draws.setdefault(name, []).append(value)
    tail = (1 - level) / 2
    found = {}
    for name, value in metrics(scores).items():
        defined = np.array(draws[name])[~np.isnan(draws[name])]
        low, high = np.quantile(defined, [tail, 1 - tail]) if len(defined) else (np.nan, np.nan)
        found[name] = Interval(value, float(low), float(high))
    return found


def bootstrap_difference(
    ours: Scores,
    other: Scores,
    metrics: Callable[[Scores], Mapping[str, float]],
    name: str,
    within: Ints,
    n: int = 2000,
    seed: int = 0,
) -> dict[str, float]:
    """Difference of one metric of two fixed models on the same participants, by a paired bootstrap.

    Args:
        ours: Of the test participants.
        other: Of the same ones, in the same order.
        metrics: Gives all metrics of a sample.
        name: Of the metric that is compared.
        within: Group of every participant, inside which it is drawn.
        n: Draws.
        seed: Of the draws.

    Returns:
        difference, ci_low, ci_high, and p: twice the share of draws on the other side of 0, two-sided.
    """
    generator = np.random.Generator(np.random.PCG64(seed))
    groups = [np.flatnonzero(within == c) for c in np.unique(within)]
    sides = (ours, other)

    def difference(rows: Ints) -> float:
        a, b = (metrics(Scores((), one.y[rows], one.logits[rows]))[name] for one in sides)
        return a - b

    drawn = np.array(
        [difference(np.concatenate([generator.choice(g, len(g)) for g in groups])) for _ in range(n)]
    )
    defined = drawn[~np.isnan(drawn)]
    if not len(defined) or not np.ptp(defined):
        low = high = p = float("nan")
    else:
        low, high = (float(end) for end in np.quantile(defined, [0.025, 0.975]))
        tail = min((defined <= 0).sum(), (defined >= 0).sum())
        p = min(1.0, 2 * float(1 + tail) / (1 + len(defined)))
    return {"difference": difference(np.arange(len(within))), "ci_low": low, "ci_high": high, "p": p}
