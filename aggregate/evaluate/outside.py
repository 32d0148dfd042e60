"""A fixed model of any kind of target on participants outside its training."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from aggregate.cohort.task import Task
from aggregate.evaluate.measure import METHODS, SEVERAL, Judged, compare_fixed, external_metrics
from aggregate.statistics.bootstrap import BOOTSTRAP_NUMBERS, bootstrap_difference, bootstrap_intervals
from aggregate.statistics.corrected import Interval
from aggregate.statistics.guessing import no_surer

Compared = dict[str, Any]
"""A comparison, as `metrics.json` has it."""


def fixed_metrics(kind: Task, judged: Judged) -> dict[str, Interval]:
    """All metrics of the tables: of classes by what suits each, of others by a bootstrap."""
    if kind.calibrates:
        return external_metrics(judged)
    return bootstrap_intervals(judged.scores, kind.measure_draws, kind.groups(judged.scores.y))


def compare_outside(kind: Task, ours: Judged, other: Judged, names: tuple[str, str]) -> Compared | None:
    """Two models on the same participants; no difference rests on a value below guessing.

    A model whose AUROC (or C-index) here is below 0.5 counts as 0.5, as `statistics.evaluate.compare` has it
    of folds: beside a bar that reads this cohort backwards anything would look better.

    Args:
        kind: Of target.
        ours: The first.
        other: The second.
        names: What they are called.

    Returns:
        difference, ci_low, ci_high, p (None where not defined) and as_guessing: who counts as 0.5. None where
        there is no test.
    """
    sides = dict(zip(names, (ours, other), strict=True))
    low = [name for name, side in sides.items() if _below_guessing(kind, side)]
    measured = _tested(kind, ours, other)
    counted = measured
    if low:
        counted = _tested(kind, *(_silent(side) if name in low else side for name, side in sides.items()))
    if measured is None or counted is None:
        return None
    return {**no_surer(measured, counted, len(low), kind.primary.difference_bounds), "as_guessing": low}


def _below_guessing(kind: Task, judged: Judged) -> bool:
    """Whether the primary metric has a value for guessing, and is below it."""
    guessing, scores = kind.primary.guessing, judged.scores
    return guessing is not None and kind.measure(scores.y, scores.logits)[kind.primary.name] < guessing


def _silent(judged: Judged) -> Judged:
    """A model that says the same of everybody: all ties."""
    scores = judged.scores
    return replace(judged, scores=replace(scores, logits=np.zeros_like(scores.logits)))


def _tested(kind: Task, ours: Judged, other: Judged) -> Mapping[str, float] | None:
    """DeLong of two classes, none of more, else a paired bootstrap of the primary metric."""
    if kind.calibrates:
        return compare_fixed(ours, other)
    groups = kind.groups(ours.scores.y)
    return bootstrap_difference(ours.scores, other.scores, kind.measure_draws, kind.primary.name, groups)


def method_of(kind: Task) -> str:
    """`ci_method`."""
    if not kind.calibrates:
        return BOOTSTRAP_NUMBERS
    return METHODS if kind.name == "binary" else SEVERAL
