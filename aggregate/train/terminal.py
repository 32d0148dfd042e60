"""The result as a person reads it on a terminal."""

from collections.abc import Mapping
from typing import Any

from aggregate.evaluate.terminal import evaluation_summary
from aggregate.predict.mean_pooling import MEAN_POOLING
from aggregate.statistics.cautions import as_guessing, cannot_compare
from aggregate.statistics.classes.lines import class_lines, interval_cell, short, table_lines
from aggregate.targets.told import people_told, primary_of, task_told
from aggregate.train.brier import BRIER, IBS
from aggregate.train.results import Results
from cache_schema.common.terminal.visible import label
from cache_schema.common.text.counts import counted


def training_summary(results: Results) -> str:
    """Warnings, a table of the head beside its baselines, and the verdict."""
    metrics = results.metrics
    shown, primary = task_told(metrics).shown_metrics, primary_of(metrics)
    lines = [f"WARNING: {sentence}" for sentence in results.warnings]
    lines += filter(None, [results.turnout.line()])
    lines.append(
        f"{label(metrics['target'])}: {metrics['n_participants']} participants ({people_told(metrics)})"
        + (f"; positive: {label(metrics['positive'])}" if metrics.get("positive") else "")
    )
    lines.append("")
    width = max(len(name) for name in [metrics["configuration"], *metrics["baselines"]])
    lines.append(f"{'':{width}}  " + "  ".join(f"{name:^20}" for name in shown))
    rows = {metrics["configuration"]: metrics["metrics"], **metrics["baselines"]}
    lines += [
        f"{name:{width}}  " + "  ".join(f"{interval_cell(row[metric]):^20}" for metric in shown)
        for name, row in rows.items()
    ]
    lines.append("")
    lines += class_lines(metrics)
    lines += [
        comparison_sentence(metrics["configuration"], name, found, primary.words)
        for name, found in metrics["comparison"].items()
    ]
    lines += brier_lines(metrics)
    lines += metrics["training"]["said"]
    if metrics["site"]["said"] not in results.warnings:
        lines.append(metrics["site"]["said"])
    if "adjusted" in metrics:
        lines.append(metrics["adjusted"]["said"])
    lines += [
        f"without {label(name)}: {primary.name} {interval_cell(found['metrics'][primary.name])} in its "
        f"{counted(found['n_participants'], 'participant')}"
        for name, found in metrics.get("groups", {}).items()
    ]
    lines += pair_lines(metrics)
    if "null" in metrics:
        null = metrics["null"][primary.name]
        least = ", the least that so few can give" if null["p"] <= 1 / (1 + null["n"]) else ""
        spread = f"{primary.words} {null['mean']:.3f} (sd {null['sd']:.3f}), p = {null['p']:.3f}{least}"
        lines.append(f"shuffled labels ({null['n']} times): {spread}")
    if "external" in metrics:
        lines += ["", evaluation_summary(metrics["external"], "")]
    return "\n".join(lines)


def comparison_sentence(head: str, baseline: str, found: dict[str, Any], metric: str = "AUROC") -> str:
    """One sentence on a comparison that cannot be misread."""
    if found["p"] is None:
        return cannot_compare(head, baseline, found)
    p = "p < 0.001" if found["p"] < 0.001 else f"p = {found['p']:.3f}"
    ours, theirs = (f"{name}{as_guessing(name, found)}" for name in (head, baseline))
    real = "differs from" if found["p"] < 0.05 else "is not shown to differ from"
    return (
        f"{ours} {real} {theirs}: {metric} {found['difference']:+.3f} "
        f"[{found['ci_low']:+.3f}, {found['ci_high']:+.3f}], {p}"
    )


def brier_lines(metrics: Mapping[str, Any]) -> list[str]:
    """Integrated Brier scores of a survival study, and what the head's may be told from."""
    found = metrics.get(BRIER)
    if found is None:
        return []
    compared = (
        comparison_sentence(metrics["configuration"], name, one, IBS.words)
        for name, one in found["comparison"].items()
    )
    return [found["said"], *compared]


def pair_lines(metrics: Mapping[str, Any]) -> list[str]:
    """A row per contrast; nothing where the target asks for none."""
    pairs: Mapping[str, Any] = metrics.get("pairs") or {}
    if not pairs:
        return []
    rows = []
    for row in pairs.values():
        found = row["comparison"].get(MEAN_POOLING) or {}
        rows.append(
            [
                " against ".join(short(name) for name in reversed(row["classes"])),
                " + ".join(str(row["n_per_class"][name]) for name in reversed(row["classes"])),
                interval_cell(row["metrics"]["auroc"]),
                p_cell(row["against_guessing"]),
                interval_cell(row["baselines"][MEAN_POOLING]["auroc"])
                if MEAN_POOLING in row["baselines"]
                else "-",
                p_cell(found),
            ]
        )
    head = ["two classes, trained alone", "n", "auroc", "p, guessing", MEAN_POOLING, "p, difference"]
    return ["", *table_lines(head, rows), "p after Holm, over the contrasts"]


def p_cell(found: Mapping[str, Any]) -> str:
    """Holm's p."""
    p = found.get("p_holm")
    return "-" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"
