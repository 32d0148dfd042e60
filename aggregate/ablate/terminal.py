"""The result of an ablation as a person reads it on a terminal."""

from aggregate.ablate.findings.claims import row_name, verdicts
from aggregate.ablate.findings.results import AblationResults
from aggregate.ablate.findings.tables import cells
from aggregate.ablate.runs.plan import duration
from aggregate.statistics.metrics import GUESSING
from aggregate.targets.told import people_told, primary_of
from cache_schema.common.terminal.visible import label
from cache_schema.common.text.counts import counted

MOST_ROWS = 60
"""Rows shown; the rest is in the files."""


def ablation_summary(results: AblationResults) -> str:
    """Warnings, the table, and the sentences."""
    metrics = results.metrics
    lines = [f"WARNING: {sentence}" for sentence in results.warnings]
    lines += filter(None, [results.turnout.line()])
    lines += [
        f"{label(metrics['target'])}: {metrics['n_participants']} participants ({people_told(metrics)})",
        "",
    ]
    head = [
        "",
        primary_of(metrics).words,
        "95 %",
        f"against {row_name(results.study.reference)}",
        "95 %",
        "p",
        "beats mean pooling",
    ]
    rows = results.first_rows(MOST_ROWS)
    body = [_shown(cells(row)) for row in (*rows, *results.baselines)]
    for row, found in zip((*rows, *results.baselines), body, strict=True):
        found[5] += " primary" if row.kind == "primary" else ""
    widths = [max(len(line[column]) for line in [head, *body]) for column in range(len(head))]
    for line in [head, *body]:
        lines.append("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    if len(results.rows) > len(rows):
        lines.append(f"... and {len(results.rows) - len(rows)} more in ablation.csv")
    lines += ["", *verdicts(results)]
    low = f"{primary_of(metrics).words} below {GUESSING}: "
    lines += [note for note in results.notes if note.startswith(low)]
    if metrics["site"]["said"] not in results.warnings:
        lines.append(metrics["site"]["said"])
    if "adjusted" in metrics:
        lines.append(metrics["adjusted"]["said"])
    lines.append("")
    kept = f", {results.n_found} were in the journal" if results.n_found else ""
    lines.append(f"{counted(results.n_trained, 'run')} trained in {duration(results.wall_seconds)}{kept}")
    return "\n".join(lines)


def _shown(found: list[str]) -> list[str]:
    """The columns that fit a terminal."""
    return [found[0], *found[2:7], found[9]]
