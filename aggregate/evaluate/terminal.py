"""An evaluation as a person reads it on a terminal."""

from collections.abc import Mapping
from typing import Any

from aggregate.cohort.task import Metric
from aggregate.statistics.cautions import as_guessing, cannot_compare
from aggregate.statistics.classes.lines import class_lines, interval_cell
from aggregate.targets.told import people_told, primary_of, task_told
from cache_schema.common.terminal.visible import label

OF_CLASSES = {
    "auroc": "auroc",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "brier": "brier",
    "calibration_slope": "slope",
    "calibration_intercept": "intercept",
    "ece": "ece",
    "ece_if_calibrated": "if calibrated",
}


def evaluation_summary(metrics: Mapping[str, Any], turnout: str) -> str:
    """Warnings, who was used, a row per measure, and what was compared.

    Args:
        metrics: As in `metrics.json`.
        turnout: One line on who is left out; may be empty.
    """
    people, primary = people_told(metrics), primary_of(metrics)
    shown = (
        OF_CLASSES if primary.name in OF_CLASSES else {m.name: m.words for m in task_told(metrics).metrics}
    )
    lines = [f"WARNING: {sentence}" for sentence in metrics["warnings"]]
    lines += filter(None, [turnout])
    lines.append(
        f"{label(metrics['target'])}: {metrics['n_participants']} participants outside training ({people})"
    )
    if metrics["threshold"] is not None:
        lines.append(f"threshold {metrics['threshold']:.3f}, frozen")
    lines.append("")
    table = {metrics["configuration"]: metrics["metrics"], **metrics["baselines"]}
    width = max(map(len, shown.values()))
    lines.append(f"{'':{width}}  " + "  ".join(f"{label(name):^24}" for name in table))
    lines += [
        f"{told:{width}}  " + "  ".join(f"{_of(row, name):^24}" for row in table.values())
        for name, told in shown.items()
        if name in metrics["metrics"]
    ]
    classes = class_lines(metrics)
    lines += ["", *classes] if classes else []
    alike = (metrics["familiarity"] or {}).get("sentences", [])
    lines += ["", *(sentence for sentence in alike if sentence not in metrics["warnings"])]
    before = metrics["in_training"]
    if before is not None:
        lines += [f"out-of-fold in its own cohort, {primary.name} was {interval_cell(before)}"]
    head = metrics["configuration"]
    lines += [_compared(head, name, found, primary) for name, found in metrics["comparison"].items()]
    return "\n".join(lines)


def _of(row: Mapping[str, Any], name: str) -> str:
    """One metric of one configuration, which may lack it."""
    return interval_cell(row[name]) if name in row else "-"


def _compared(head: str, other: str, found: Mapping[str, Any], primary: Metric) -> str:
    if found["p"] is None:
        if len(found.get("as_guessing") or ()) == 2:
            return cannot_compare(head, other, found)
        return f"{head} and {other}: their difference has no spread, so nothing can be said"
    p = "p < 0.001" if found["p"] < 0.001 else f"p = {found['p']:.3f}"
    real = "differs from" if found["p"] < 0.05 else "is not shown to differ from"
    ours, theirs = (f"{name}{as_guessing(name, found)}" for name in (head, other))
    return (
        f"{ours} {real} {theirs}: {primary.words} {found['difference']:+.3f} "
        f"[{found['ci_low']:+.3f}, {found['ci_high']:+.3f}], {p} "
        f"({'DeLong' if primary.name == 'auroc' else 'paired bootstrap'})"
    )
