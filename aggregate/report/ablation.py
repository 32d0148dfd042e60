"""The report of an ablation: one self-contained HTML file. Importing it needs the `report` extra."""

from pathlib import Path
from typing import Any

import yaml

from aggregate.ablate.findings.claims import row_name, told_name, verdicts
from aggregate.ablate.findings.heat import Heat, heat_of
from aggregate.ablate.findings.results import AblationResults
from aggregate.ablate.findings.tables import cells, primary_cells, primary_head, table_head
from aggregate.cohort.task import Metric
from aggregate.common.artefacts import write_text
from aggregate.report import ablation_figures, words
from aggregate.report.pages import rendered, whole
from aggregate.report.tables import reasons
from aggregate.targets.told import bar_of, primary_of

MOST_BARS = 40
"""Rows that the forest plot shows; a larger grid is read from the heat map and the table."""


def render_ablation(results: AblationResults, path: Path) -> None:
    """Write the report; nobody ever sees half of it.

    Args:
        results: Of one ablation.
        path: The HTML file, replaced if it is there.
    """
    write_text(path, ablation_page(results))


def ablation_page(results: AblationResults) -> str:
    """The whole HTML file as text; the same results give the same text."""
    return rendered("ablation.html", ablation_content(results))


def ablation_content(results: AblationResults) -> dict[str, Any]:
    """Everything that the template shows."""
    metrics, reference = results.metrics, row_name(results.study.reference)
    primary, bar = primary_of(metrics), bar_of(metrics)
    head = table_head(primary, bar, reference)
    sentences = verdicts(results)
    n_primary = max(1, len(results.primary))
    heat = heat_of(results.study, results.rows)
    return {
        "target": metrics["target"],
        "classes": metrics.get("classes") or [],
        "primary_sentences": sentences[:n_primary],
        "other_sentences": sentences[n_primary:],
        "has_primary": bool(results.primary),
        "untrained": results.header.fingerprint.backbone.architecture.get("kind") == "untrained",
        "warnings": results.warnings,
        "facts": ablation_facts(results),
        "reference": reference,
        "forest": comparison_forest(results),
        "n_hidden": len(results.rows) - len(results.first_rows(MOST_BARS)),
        "heat": None if heat is None else ablation_figures.heat_map(heat, primary.words),
        "heat_words": "" if heat is None else heat_words(heat, primary),
        "metric": primary.words,
        "bar": row_name(bar),
        "primary_head": primary_head(primary),
        "primary": [primary_cells(comparison) for comparison in results.primary],
        "head": head,
        "rows": [table_row(results, index) for index in range(len(results.rows))],
        "baselines": [cells(row) for row in results.baselines],
        "chosen": sorted(results.chosen.items(), key=lambda item: -item[1]),
        "left_out": reasons(results.turnout.rows()),
        "turnout": results.turnout.line(),
        "notes": results.notes,
        "ci_words": words.ci_words(str(metrics["ci_method"])),
        "ci_method": metrics["ci_method"],
        "command": whole(results.command),
        "hashes": [(name, metrics[name.replace(" ", "_")]) for name in ("fingerprint", "content digest")],
        "versions": ", ".join(f"{name} {version}" for name, version in sorted(metrics["versions"].items())),
        "config": whole(yaml.safe_dump(results.config, sort_keys=False, allow_unicode=True)),
    }


def ablation_facts(results: AblationResults) -> list[tuple[str, str]]:
    """Key figures under the title."""
    metrics = results.metrics
    return [
        ("different configurations", str(metrics["ablation"]["n_distinct"])),
        ("participants", str(metrics["n_participants"])),
        ("folds × repeats × seeds", f"{metrics['n_folds']} × {metrics['n_repeats']} × {metrics['n_seeds']}"),
        ("runs", str(metrics["ablation"]["n_runs"])),
        ("primary comparisons", str(len(results.primary))),
    ]


def table_row(results: AblationResults, index: int) -> tuple[list[str], str]:
    """A row's cells and its class: the reference is marked, and what does not beat mean pooling is."""
    row = results.rows[index]
    if row.versus_mean_pool is not None and not row.beats_mean_pool:
        return cells(row), "below"
    return cells(row), "main" if row.kind == "reference" else ""


def comparison_forest(results: AblationResults) -> str | None:
    """Differences to the reference, as far as they are defined."""
    marks = [
        ablation_figures.Mark(
            name=told_name(row),
            value=row.difference["difference"],
            low=row.difference["ci_low"],
            high=row.difference["ci_high"],
            primary=row.kind == "primary",
            beats=row.beats_mean_pool or row.versus_mean_pool is None,
        )
        for row in (*results.first_rows(MOST_BARS), *results.baselines)
        if row.difference is not None and row.difference["difference"] is not None
    ]
    reference, primary = row_name(results.study.reference), primary_of(results.metrics)
    return ablation_figures.differences(marks, reference, primary) if marks else None


def heat_words(heat: Heat, primary: Metric) -> str:
    """What the heat map must not be taken for."""
    shade = "darkest" if primary.lower_is_better else "brightest"
    return (
        f"Mean {primary.words} over {heat.x} and {heat.y}. The {shade} cell was found by looking: "
        "neighbouring cells differ by chance, so a single best cell is no result."
    )
