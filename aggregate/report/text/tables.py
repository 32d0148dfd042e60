"""What the report tells in tables, as plain rows of text; escaping is the template's."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from aggregate.common.table_values import natural
from aggregate.report.text.words import METRICS, comparison_words, head_of, interval, named, number, p_value
from aggregate.statistics.cautions import as_guessing
from aggregate.targets.told import people_told, primary_of
from aggregate.train.results import Results

GROUP_METRICS = (
    "c_index",
    "uno_c",
    *("auroc", "sensitivity", "specificity", "brier", "calibration_slope"),
    *("mae", "r2", "pearson", "bias", "bias_slope"),
)
"""Shown of every group that was left out."""
MOST_NAMES = 1000
"""Names behind one reason; `metrics.json` has all."""


@dataclass(frozen=True, slots=True)
class TextTable:
    """A header and rows; the first column names the row."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Reason:
    """Volumes left out for one reason."""

    reason: str
    who: tuple[str, ...]
    """At most `MOST_NAMES`."""
    count: int

    @property
    def more(self) -> int:
        """How many are not named."""
        return self.count - len(self.who)


def metric_table(metrics: Mapping[str, Any]) -> tuple[list[str], list[tuple[str, list[tuple[str, str]]]]]:
    """Metric names, and per configuration its name with (value, interval) for each."""
    rows = {head_of(metrics): metrics["metrics"], **metrics["baselines"]}
    present = [name for row in rows.values() for name in row]
    order = [name for name in dict.fromkeys([*METRICS, *present]) if name in present]
    body = []
    for name, row in rows.items():
        cells = [(number((row.get(m) or {}).get("value")), interval(row.get(m) or {})) for m in order]
        body.append((named(name), cells))
    return [METRICS.get(name, name) for name in order], body


def comparison_table(metrics: Mapping[str, Any]) -> TextTable | None:
    """The head against every baseline, by the primary metric."""
    primary = primary_of(metrics)
    rows = tuple(
        (
            named(name) + as_guessing(name, found),
            number(found.get("difference"), signed=True),
            interval(found, signed=True),
            p_value(found.get("p")).removeprefix("p = ").removeprefix("p "),
            comparison_words(found, primary),
        )
        for name, found in (metrics.get("comparison") or {}).items()
    )
    head = (
        f"{named(head_of(metrics))} against",
        f"difference of {primary.words}",
        "95 % interval",
        "p",
        "in words",
    )
    return TextTable(head, rows) if rows else None


def risk_group_table(metrics: Mapping[str, Any]) -> TextTable | None:
    """Participants, events and median time of the groups above and below a risk of 0."""
    groups = metrics.get("risk_groups")
    if groups is None:
        return None
    rows = tuple(
        (name, str(found["n"]), str(found["events"]), _time(found["median_time"]))
        for name, found in ((name, groups[name]) for name in ("low", "high"))
    )
    unit = f"half of them had it after ({metrics['target']})"
    return TextTable(("risk", "participants", "with the event", unit), rows)


def _time(value: float | None) -> str:
    return "not reached" if value is None else f"{value:g}"


def _rows_are(results: Results) -> str:
    """What tables by label have in their rows: labels, or ranges of a number."""
    return str(results.metrics["target"]) if "outcome" in results.metrics else "label"


def slices_table(results: Results) -> TextTable | None:
    """Kept slices, coverage and slice distance by label: protocol confounds, if the labels differ in them."""
    columns = {
        "slices": "slices per bag",
        "coverage_mm": "coverage, mm",
        "slice_spacing_mm": "slice distance of the volume, mm",
    }
    shown = [name for name in columns if name in results.cohort]
    if not shown:
        return None
    rows = tuple(
        (label, *(spread_words(results.cohort.loc[results.cohort["y"] == index, name]) for name in shown))
        for index, label in enumerate(results.classes)
    )
    return TextTable((_rows_are(results), *(columns[name] for name in shown)), rows)


def spread_words(values: "pd.Series[Any]") -> str:
    """Median and range."""
    numbers = pd.to_numeric(values, errors="coerce").dropna()
    if numbers.empty:
        return "–"
    low, middle, high = (f"{value:.4g}" for value in numbers.quantile([0, 0.5, 1]))
    return middle if low == high else f"{middle} ({low} to {high})"


def site_table(frame: pd.DataFrame | None) -> TextTable | None:
    """Participants by site and label."""
    if frame is None or frame.empty:
        return None
    rows = tuple(
        (str(site), *(str(int(count)) for count in counts))
        for site, counts in zip(frame.index, frame.to_numpy(), strict=True)
    )
    return TextTable(("site", *(str(column) for column in frame.columns)), rows)


def group_table(metrics: Mapping[str, Any]) -> TextTable | None:
    """The head in every group that was left out of its training."""
    groups: Mapping[str, Any] = metrics.get("groups") or {}
    if not groups:
        return None
    primary = primary_of(metrics)
    shown = [name for name in GROUP_METRICS if name in next(iter(groups.values()))["metrics"]]
    rows = tuple(
        (
            name,
            people_told({**found, "task": metrics.get("task")}),
            *(with_interval(found["metrics"][metric]) for metric in shown),
            *(with_interval(row[primary.name]) for row in found.get("baselines", {}).values()),
        )
        for name, found in groups.items()
    )
    others = [f"{primary.words}, {named(name)}" for name in next(iter(groups.values())).get("baselines", {})]
    return TextTable(("left out", "participants", *(METRICS[name] for name in shown), *others), rows)


def with_interval(found: Mapping[str, Any]) -> str:
    """`0.81 (0.70 to 0.92)`."""
    return number(found["value"]) + (f" ({interval(found)})" if interval(found) else "")


def reasons(left_out: Sequence[Mapping[str, str]]) -> list[Reason]:
    """Who was left out, grouped by reason, the most frequent first."""
    groups: dict[str, list[str]] = defaultdict(list)
    for row in left_out:
        parts = (row.get(name) or "" for name in ("participant_id", "session_id", "volume_id"))
        groups[row.get("reason") or "no reason given"].append(" / ".join(part for part in parts if part))
    ordered = sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
    return [Reason(reason, tuple(sorted(who, key=natural)[:MOST_NAMES]), len(who)) for reason, who in ordered]
