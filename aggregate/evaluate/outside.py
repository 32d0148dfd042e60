"""A fixed model of any kind of target on participants outside its training."""

from functools import partial
from typing import Any

import numpy as np

from aggregate.cohort.task import Task
from aggregate.evaluate.measure import METHODS, SEVERAL, Judged, compare_fixed, external_metrics
from aggregate.statistics.bootstrap import BOOTSTRAP_NUMBERS, bootstrap_difference, bootstrap_intervals
from aggregate.statistics.corrected import Interval
from aggregate.statistics.metrics import Scores


def fixed_metrics(kind: Task, judged: Judged) -> dict[str, Interval]:
    """All metrics of the tables: of classes by what suits each, of others by a bootstrap."""
    if kind.calibrates:
        return external_metrics(judged)
    return bootstrap_intervals(judged.scores, partial(_measured, kind), kind.groups(judged.scores.y))


def compare_outside(kind: Task, ours: Judged, other: Judged) -> dict[str, float | None] | None:
    """Two models on the same participants: DeLong of two classes, else a paired bootstrap of the primary."""
    if kind.calibrates:
        return compare_fixed(ours, other)
    groups = kind.groups(ours.scores.y)
    found = bootstrap_difference(
        ours.scores, other.scores, partial(_measured, kind), kind.primary.name, groups
    )
    return {name: value if np.isfinite(value) else None for name, value in found.items()}


def method_of(kind: Task) -> str:
    """`ci_method`."""
    if not kind.calibrates:
        return BOOTSTRAP_NUMBERS
    return METHODS if kind.name == "binary" else SEVERAL


def _measured(kind: Task, scores: Scores) -> dict[str, Any]:
    return kind.measure(scores.y, scores.logits)
