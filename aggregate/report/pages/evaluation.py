"""The report of an external evaluation: one HTML file. Importing it needs the `report` extra."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from aggregate.common.artefacts import write_text
from aggregate.common.run_folder import FIGURES, REPORT
from aggregate.evaluate.curves import Curves
from aggregate.evaluate.evaluate import Evaluation
from aggregate.evaluate.results import EvaluationResults
from aggregate.report.figures.cohort.flow import flow_figure
from aggregate.report.figures.drawing import Drawing
from aggregate.report.figures.scores.evaluation import evaluation_figures
from aggregate.report.pages.classes import class_content
from aggregate.report.pages.rendering import rendered, whole
from aggregate.report.pages.scored import FEW, drawings_of, scored_content
from aggregate.report.text import tables, words
from aggregate.targets.told import primary_of
from cache_schema.common.text.counts import counted


def render_evaluation(results: EvaluationResults) -> dict[str, Any]:
    """Write the report and, beside their tables, the figures in it; what it shows is returned."""
    figures = drawn_figures(results.folder, results.evaluation.curves)
    content = evaluation_content(results, figures)
    write_text(results.folder / REPORT, rendered("evaluation.html", content))
    return content


def drawn_figures(folder: Path, curves: Curves, prefix: str = "") -> dict[str, Drawing]:
    """Draw the figures of an evaluation and put them beside their tables in a verb's folder."""
    figures = evaluation_figures(curves)
    (folder / FIGURES).mkdir(exist_ok=True)
    for name, drawing in figures.items():
        drawing.name = f"{prefix}{name}"
        write_text(folder / FIGURES / f"{drawing.name}.svg", drawing)
    return figures


def external_scored(evaluation: Evaluation, prefix: str = "") -> dict[str, Any] | None:
    """What the bundle says of single participants; its figures' files have the prefix."""
    metrics = evaluation.metrics
    if "outcome" in metrics:
        return None
    names = [words.head_of(metrics), *metrics["baselines"]]
    found = scored_content(evaluation.predictions, names, metrics.get("classes") or (), outside=True)
    drawings_of(found, prefix)
    return found


def external_content(
    metrics: Mapping[str, Any], figures: Mapping[str, str], scored: dict[str, Any] | None = None
) -> dict[str, Any]:
    """What the section on an external cohort shows."""
    return {
        "scored": scored,
        "tables": split_table(*tables.metric_table(metrics)),
        "comparison": tables.comparison_table(metrics),
        "several": class_content(metrics),
        "figures": figures,
        "log_rank": words.p_value((metrics.get("risk_groups") or {}).get("log_rank_p")),
        "classes": metrics.get("classes") or [],
        "ci_method": metrics["ci_method"],
        "familiarity": (metrics["familiarity"] or {}).get("sentences", []),
    }


Cells = list[tuple[str, str]]
CALIBRATION = ("calibration_slope", "calibration_intercept", "ece", "ece_if_calibrated")
"""Metrics that have a table of their own: all in one would be too wide for a page."""


def split_table(names: list[str], rows: list[tuple[str, Cells]]) -> list[tuple[list[str], list[Any]]]:
    """What a model tells apart, and whether its probabilities mean what they say, as two tables."""
    apart = {words.METRICS[name] for name in CALIBRATION}
    places = [[at for at, name in enumerate(names) if (name in apart) == side] for side in (False, True)]
    return [
        ([names[at] for at in own], [(name, [cells[at] for at in own]) for name, cells in rows])
        for own in places
        if own
    ]


def evaluation_content(results: EvaluationResults, figures: Mapping[str, str]) -> dict[str, Any]:
    """Everything that the template shows."""
    metrics, cohort = results.evaluation.metrics, results.evaluation.cohort
    return {
        "target": metrics["target"],
        "classes": metrics.get("classes") or [],
        "positive": metrics.get("positive"),
        "verdict": external_verdict(metrics),
        "untrained": results.header.fingerprint.backbone.architecture.get("kind") == "untrained",
        "warnings": metrics["warnings"],
        "facts": evaluation_facts(metrics),
        "external": external_content(metrics, figures, external_scored(results.evaluation)),
        "flow": flow_figure(metrics),
        "left_out": tables.reasons(cohort.turnout.rows()),
        "turnout": cohort.turnout.line(),
        "notes": metrics["notes"],
        "command": whole(results.command),
        "hashes": [(name, metrics[name.replace(" ", "_")]) for name in ("fingerprint", "content digest")],
        "versions": ", ".join(f"{name} {version}" for name, version in sorted(metrics["versions"].items())),
        "config": whole(yaml.safe_dump(results.config, sort_keys=False, allow_unicode=True)),
    }


def evaluation_facts(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Key figures under the title."""
    primary = primary_of(metrics)
    judged, before = metrics["metrics"][primary.name], metrics["in_training"]
    facts = [
        (primary.words, words.number(judged["value"])),
        ("95 % interval", words.interval(judged) or "–"),
        ("participants", str(metrics["n_participants"])),
    ]
    if metrics["threshold"] is not None:
        facts.append(("threshold, frozen", words.number(metrics["threshold"])))
    if before is not None:
        facts.append((f"{primary.words} in its own cohort", words.number(before["value"])))
    return [*facts, ("members", str(metrics["n_members"])), ("head", words.named(words.head_of(metrics)))]


def external_verdict(metrics: Mapping[str, Any]) -> str:
    """What holds outside the cohort that the bundle was trained on."""
    return f"Outside training: {words.verdict(metrics)} {calibration_words(metrics)}".strip()


def calibration_words(metrics: Mapping[str, Any]) -> str:
    """Whether probabilities mean what they say, where every class has enough participants to tell."""
    slope = metrics["metrics"].get("calibration_slope") or {}
    shift = metrics["metrics"].get("calibration_intercept") or {}
    if slope.get("value") is None or shift.get("value") is None:
        return ""
    few = min(metrics.get("n_per_class", {}).values(), default=FEW)
    if few < FEW:
        return f"Its smallest class has {counted(few, 'participant')}: too few to judge calibration by."
    told = []
    if not slope["ci_low"] <= 1 <= slope["ci_high"]:
        sure = "too sure of themselves" if slope["value"] < 1 else "not sure enough"
        told.append(f"are {sure} (slope {words.number(slope['value'])}, {words.interval(slope)})")
    if not shift["ci_low"] <= 0 <= shift["ci_high"]:
        side = "too low" if shift["value"] > 0 else "too high"
        told.append(f"are {side} on the whole (intercept {words.number(shift['value'], True)})")
    if not told:
        return "Its probabilities are not shown to be miscalibrated."
    return f"Its probabilities {' and '.join(told)}."
