"""Intervals over resampled participants, for a fixed model and participants outside all its training."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aggregate.common.arrays import Floats, Ints
from aggregate.statistics.corrected import Interval
from aggregate.statistics.metrics import Scores

BOOTSTRAP = "percentile bootstrap over the test participants, stratified by label, level 0.95"
"""`ci_method` of one given split, where the model is fixed and its test participants are outside it."""

BOOTSTRAP_NUMBERS = (
    "of a fixed model, over participants outside its training: percentile bootstrap over participants, "
    "paired in comparisons, level 0.95"
)
"""`ci_method` of a target that has no classes, or ordered ones, on a cohort outside training."""


OfDraws = Callable[[NDArray[Any], Floats], Mapping[str, Floats]]
"""From outcomes (draw, participant) and logits (draw, participant, class) to every metric (draw,)."""

AT_ONCE = 2**16
"""Participants of all draws that are measured together: what a processor's cache holds."""


def one_by_one(metrics: Callable[[Scores], Mapping[str, float]]) -> OfDraws:
    """All draws, by what gives all metrics of one sample."""

    def of_draws(y: NDArray[Any], logits: Floats) -> dict[str, Floats]:
        found = [metrics(Scores((), *one)) for one in zip(y, logits, strict=True)]
        return {name: np.array([one[name] for one in found]) for name in found[0]}

    return of_draws


def bootstrap_intervals(
    scores: Scores,
    metrics: OfDraws,
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
        metrics: Gives all metrics of samples at once; every draw serves all of them.
        within: Group of every participant; by default their class.
        n: Draws.
        seed: Of the draws.
        level: Coverage.
    """
    drawn = [_of(scores, metrics, rows) for rows in _draws(scores.y if within is None else within, n, seed)]
    tail = (1 - level) / 2
    found = {}
    for name, values in _of(scores, metrics, np.arange(len(scores.y))[None]).items():
        draws = np.concatenate([one[name] for one in drawn])
        defined = draws[~np.isnan(draws)]
        low, high = np.quantile(defined, [tail, 1 - tail]) if len(defined) else (np.nan, np.nan)
        found[name] = Interval(float(values[0]), float(low), float(high))
    return found


def bootstrap_difference(
    ours: Scores,
    other: Scores,
    metrics: OfDraws,
    name: str,
    within: Ints,
    n: int = 2000,
    seed: int = 0,
) -> dict[str, float]:
    """Difference of one metric of two fixed models on the same participants, by a paired bootstrap.

    Args:
        ours: Of the test participants.
        other: Of the same ones, in the same order.
        metrics: Gives all metrics of samples.
        name: Of the metric that is compared.
        within: Group of every participant, inside which it is drawn.
        n: Draws.
        seed: Of the draws.

    Returns:
        difference, ci_low, ci_high, and p: twice the share of draws on the other side of 0, two-sided.
    """

    def differences(rows: Ints) -> Floats:
        return np.asarray(_of(ours, metrics, rows)[name] - _of(other, metrics, rows)[name])

    drawn = np.concatenate([differences(rows) for rows in _draws(within, n, seed)])
    defined = drawn[~np.isnan(drawn)]
    if not len(defined) or not np.ptp(defined):
        low = high = p = float("nan")
    else:
        low, high = (float(end) for end in np.quantile(defined, [0.025, 0.975]))
        tail = min((defined <= 0).sum(), (defined >= 0).sum())
        p = min(1.0, 2 * float(1 + tail) / (1 + len(defined)))
    whole = float(differences(np.arange(len(within))[None])[0])
    return {"difference": whole, "ci_low": low, "ci_high": high, "p": p}


def _draws(within: Ints, n: int, seed: int) -> Iterator[Ints]:
    """Participants of every draw, some draws at a time (draw, participant)."""
    generator = np.random.Generator(np.random.PCG64(seed))
    groups = [np.flatnonzero(within == c) for c in np.unique(within)]
    together = max(1, AT_ONCE // len(within))
    for start in range(0, n, together):
        yield np.stack(
            [
                np.concatenate([generator.choice(group, len(group)) for group in groups])
                for _ in range(start, min(n, start + together))
            ]
        )


def _of(scores: Scores, metrics: OfDraws, rows: Ints) -> Mapping[str, Floats]:
    """Metrics of draws (draw, participant) of these scores."""
    return metrics(scores.y[rows], scores.logits[rows])
