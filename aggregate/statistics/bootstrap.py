"""Intervals over resampled participants, for a fixed model and participants outside all its training."""

from collections.abc import Callable, Mapping

import numpy as np

from aggregate.common.arrays import Ints
from aggregate.statistics.corrected import Interval
from aggregate.statistics.metrics import Scores

BOOTSTRAP = "percentile bootstrap over the test participants, stratified by label, level 0.95"
"""`ci_method` of one given split, where the model is fixed and its test participants are outside it."""


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
