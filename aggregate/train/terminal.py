"""The result as a person reads it on a terminal."""

from typing import Any

from aggregate.evaluate.terminal import evaluation_summary
from aggregate.statistics.cautions import as_guessing, cannot_compare
from aggregate.train.results import Results
from cache_schema.common.terminal.visible import label

SHOWN = ("auroc", "auprc", "balanced_accuracy", "brier")


def training_summary(results: Results) -> str:
    """Warnings, a table of the head beside its baselines, and the verdict."""
    metrics = results.metrics
    classes = ", ".join(f"{label(name)} {n}" for name, n in metrics["n_per_class"].items())
    lines = [f"WARNING: {sentence}" for sentence in results.warnings]
    lines += filter(None, [results.turnout.line()])
    lines.append(f"{label(metrics['target'])}: {metrics['n_participants']} participants ({classes})")
    lines.append("")
    width = max(len(name) for name in [metrics["configuration"], *metrics["baselines"]])
    lines.append(f"{'':{width}}  " + "  ".join(f"{name:^20}" for name in SHOWN))
    rows = {metrics["configuration"]: metrics["metrics"], **metrics["baselines"]}
    lines += [
        f"{name:{width}}  " + "  ".join(f"{interval_cell(row[metric]):^20}" for metric in SHOWN)
        for name, row in rows.items()
    ]
    lines.append("")
    lines += [
        comparison_sentence(metrics["configuration"], name, found)
        for name, found in metrics["comparison"].items()
    ]
    lines += metrics["training"]["said"]
    if metrics["site"]["said"] not in results.warnings:
        lines.append(metrics["site"]["said"])
    if "adjusted" in metrics:
        lines.append(metrics["adjusted"]["said"])
    lines += [
        f"without {label(name)}: auroc {interval_cell(found['metrics']['auroc'])} in its "
        f"{found['n_participants']} participants"
        for name, found in metrics.get("groups", {}).items()
    ]
    if "null" in metrics:
        null = metrics["null"]["auroc"]
        spread = f"AUROC {null['mean']:.3f} (sd {null['sd']:.3f}), p = {null['p']:.3f}"
        lines.append(f"shuffled labels ({null['n']} times): {spread}")
    if "external" in metrics:
        lines += ["", evaluation_summary(metrics["external"], "")]
    return "\n".join(lines)


def interval_cell(interval: dict[str, Any]) -> str:
    """`0.812 [0.701, 0.923]`, or a dash where not defined."""
    if interval["value"] is None:
        return "-"
    if interval["ci_low"] is None:
        return f"{interval['value']:.3f}"
    return f"{interval['value']:.3f} [{interval['ci_low']:.3f}, {interval['ci_high']:.3f}]"


def comparison_sentence(head: str, baseline: str, found: dict[str, Any]) -> str:
    """One sentence on a comparison that cannot be misread."""
    if found["p"] is None:
        return cannot_compare(head, baseline, found)
    p = "p < 0.001" if found["p"] < 0.001 else f"p = {found['p']:.3f}"
    ours, theirs = (f"{name}{as_guessing(name, found)}" for name in (head, baseline))
    real = "differs from" if found["p"] < 0.05 else "is not shown to differ from"
    return (
        f"{ours} {real} {theirs}: AUROC {found['difference']:+.3f} "
        f"[{found['ci_low']:+.3f}, {found['ci_high']:+.3f}], {p}"
    )
