"""How the numbers of a kind of target are told: what `metrics.json` says the target is, as tables need it."""

from collections.abc import Mapping
from typing import Any

from aggregate.cohort.task import Metric
from aggregate.targets.base import LearntTask
from aggregate.targets.registry import SPECS, USUAL
from cache_schema.common.terminal.visible import label

TASKS: dict[str, type[LearntTask]] = {
    name: spec.task_class for spec in SPECS.values() for name in spec.task_class.names
}
"""By what `metrics.json` calls them."""
METRICS: dict[str, Metric] = {}
for _task in TASKS.values():
    for _metric in _task.metrics:
        METRICS.setdefault(_metric.name, _metric)
"""Every metric by name."""
BARS = tuple(dict.fromkeys(task.bar for task in TASKS.values()))
"""The linear models on mean pooled tokens, one for each kind of target."""
CONSTANT = "constant"
"""The row that says the same of everybody."""


def task_told(metrics: Mapping[str, Any]) -> type[LearntTask]:
    """The kind of target of a `metrics.json`; of classes where it says none that is known."""
    return TASKS.get(str(metrics.get("task")), SPECS[USUAL].task_class)


def primary_of(metrics: Mapping[str, Any]) -> Metric:
    """The metric that it is judged by."""
    return task_told(metrics).metrics[0]


def bar_of(metrics: Mapping[str, Any]) -> str:
    """The baseline that every head has to beat."""
    return task_told(metrics).bar


def people_told(metrics: Mapping[str, Any]) -> str:
    """`control 12, patient 12`, or of a number its range."""
    if "n_per_class" in metrics:
        return ", ".join(f"{label(name)} {n}" for name, n in metrics["n_per_class"].items())
    return task_told(metrics).spread_words(metrics["outcome"])
