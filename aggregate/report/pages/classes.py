"""What the report tells of classes: each against the rest, each two of them, who is called what."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from aggregate.common.run_folder import REPORT
from aggregate.report.figures.scores.confusion import confusion_of
from aggregate.report.text.tables import TextTable, with_interval
from aggregate.report.text.words import METRICS, head_of, interval, named, number, p_value
from aggregate.statistics.classes.confusion import mean_over

OF_CLASS = ("auroc", "sensitivity", "specificity", "ppv")


def class_content(metrics: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the section on classes shows; None of results from before it was there."""
    found = metrics.get("confusion")
    if found is None:
        return None
    return {
        "confusion": confusion_of(metrics["classes"], found["counts"]),
        "mean_over": mean_over(metrics),
        "per_class": class_table(metrics.get("per_class") or {}),
        "pairwise": pair_table(metrics.get("pairwise") or []),
        "calibrated": "ece" in metrics["metrics"],
    }


def class_table(classes: Mapping[str, Any]) -> TextTable | None:
    """A row per class."""
    if not classes:
        return None
    known = next(iter(classes.values()))
    shown = [
        name for name in (*OF_CLASS, "calibration_slope", "calibration_intercept", "ece") if name in known
    ]
    rows = tuple(
        (name, str(row["n"]), *(with_interval(row[metric]) for metric in shown))
        for name, row in classes.items()
    )
    return TextTable(("class, against the rest", "participants", *(METRICS[name] for name in shown)), rows)


def pair_table(pairs: list[Mapping[str, Any]]) -> TextTable | None:
    """A row per pair of classes."""
    if not pairs:
        return None
    rows = tuple(
        (
            " and ".join(row["classes"]),
            " and ".join(map(str, row["n"])),
            with_interval(row["auroc"]),
            with_interval(row["hand_till"]),
        )
        for row in pairs
    )
    return TextTable(("two classes", "participants", "AUROC", "Hand and Till"), rows)


@dataclass(frozen=True, slots=True)
class Contrasts:
    """Two classes at a time that were trained by themselves."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, str, tuple[tuple[str, ...], ...]], ...]
    """Name, where its own report is, and cells of several lines."""


def contrast_table(metrics: Mapping[str, Any]) -> Contrasts | None:
    """A row per contrast: the head, whether it guesses, and every baseline with what it differs by."""
    pairs: Mapping[str, Any] = metrics.get("pairs") or {}
    if not pairs:
        return None
    others = list(dict.fromkeys(name for row in pairs.values() for name in row["baselines"]))
    rows = []
    for row in pairs.values():
        counts = " + ".join(str(row["n_per_class"][name]) for name in reversed(row["classes"]))
        ours = row["metrics"]["auroc"]
        cells = [(counts,), (number(ours["value"]), interval(ours)), (holm_cell(row["against_guessing"]),)]
        for name in others:
            own, found = (row["baselines"].get(name) or {}).get("auroc"), row["comparison"].get(name) or {}
            cells.append((number(own["value"]), interval(own), difference_cell(found)) if own else ("–",))
        told = " against ".join(reversed(row["classes"]))
        rows.append((told, f"{quote(row['folder'])}/{REPORT}", tuple(cells)))
    head = ("positive against negative", "participants", named(head_of(metrics)), "p, against guessing")
    return Contrasts((*head, *map(named, others)), tuple(rows))


def difference_cell(found: Mapping[str, Any]) -> str:
    """What the head differs by, with Holm's p; nothing where that is not defined."""
    if found.get("p_holm") is None:
        return ""
    return f"{number(found['difference'], signed=True)}, {p_value(found['p_holm'])}"


def holm_cell(found: Mapping[str, Any]) -> str:
    """Holm's p, bare."""
    return p_value(found.get("p_holm")).removeprefix("p = ").removeprefix("p ")
