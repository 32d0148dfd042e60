"""The report of an ablation: one self-contained HTML file. Importing it needs the `report` extra."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from aggregate.ablate.findings.claims import called, drawn_name, row_name, verdicts
from aggregate.ablate.findings.compare import Comparison, Found, Row
from aggregate.ablate.findings.folded import Group, folded, idle_sentences
from aggregate.ablate.findings.heat import Heat, heat_of
from aggregate.ablate.findings.results import AblationResults
from aggregate.ablate.findings.tables import cells, primary_cells, primary_head, table_head
from aggregate.cohort.task import Metric
from aggregate.common.artefacts import write_text
from aggregate.config.ablate import AblateSpec
from aggregate.report.figures.cohort.flow import flow_figure
from aggregate.report.figures.studies.ablation import Mark, differences, heat_map
from aggregate.report.pages.rendering import rendered, whole
from aggregate.report.pages.scored import scored_content
from aggregate.report.text import words
from aggregate.report.text.tables import reasons
from aggregate.targets.told import bar_of, primary_of

MOST_BARS = 60
"""Rows that the forest plot shows; a larger grid is read from the heat map and the table."""


def render_ablation(results: AblationResults, path: Path) -> dict[str, Any]:
    """Write the report; nobody ever sees half of it. What it shows is returned.

    Args:
        results: Of one ablation.
        path: The HTML file, replaced if it is there.
    """
    content = ablation_content(results)
    write_text(path, rendered("ablation.html", content))
    return content


def ablation_page(results: AblationResults) -> str:
    """The whole HTML file as text; the same results give the same text."""
    return rendered("ablation.html", ablation_content(results))


def ablation_content(results: AblationResults) -> dict[str, Any]:
    """Everything that the template shows."""
    metrics, reference = results.metrics, row_name(results.study.reference)
    primary, bar = primary_of(metrics), bar_of(metrics)
    head = table_head(primary, bar, reference) + ["parameters", "seconds"] * results.study.spec.costs
    sentences = verdicts(results)
    n_primary = max(1, len(results.primary))
    heat = heat_of(results.study, results.rows)
    return {
        "target": metrics["target"],
        "classes": metrics.get("classes") or [],
        "positive": metrics.get("positive"),
        "primary_sentences": sentences[:n_primary],
        "other_sentences": sentences[n_primary:],
        "has_primary": bool(results.primary),
        "untrained": results.header.fingerprint.backbone.architecture.get("kind") == "untrained",
        "warnings": results.warnings,
        "facts": ablation_facts(results),
        "reference": called(results.study.reference, results.study.spec),
        "labelled": labelled(results),
        "forest": comparison_forest(results),
        "idle": idle_sentences(folded([row for row in results.rows if is_defined(row.difference)])),
        "n_hidden": len(results.rows) - len(results.first_rows(MOST_BARS)),
        "heat": None if heat is None else heat_map(heat, primary.words),
        "heat_words": "" if heat is None else heat_words(heat, primary),
        "scored": scored_section(results),
        "flow": flow_figure(metrics),
        "metric": primary.words,
        "bar": row_name(bar),
        "primary_head": primary_head(primary),
        "primary": [primary_cells(comparison) for comparison in results.primary],
        "head": head,
        "rows": [table_row(results, index) for index in range(len(results.rows))],
        "baselines": [cells(row) + costs(results, row) for row in results.baselines],
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


def labelled(results: AblationResults) -> str:
    """`ABMIL (ours) is abmil`, of every configuration that figures call by a label."""
    spec = results.study.spec
    named = [(spec.label_of(name), name) for name in spec.configurations]
    return ", ".join(f"{label} is {name}" for label, name in named if label)


def scored_section(results: AblationResults) -> dict[str, Any] | None:
    """Scores of what was named beforehand, of what inner folds chose, or of the best of the table."""
    if results.told is None or "outcome" in results.metrics:
        return None
    names = [str(name) for name in results.told["configuration"].unique()]
    classes = results.metrics.get("classes") or ()
    names_drawn = {name: called(name, results.study.spec) for name in names}
    found = scored_content(results.told, names, classes, with_roc=True, names=names_drawn)
    if found is not None and not results.primary and names[0] != results.study.reference:
        found["few"] = f"{found['few']} It was picked after the fact, and looks better than it is.".strip()
    return found


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
    found = cells(row) + costs(results, row)
    if row.versus_mean_pool is not None and not row.beats_mean_pool:
        return found, "below"
    return found, "main" if row.kind == "reference" else ""


def costs(results: AblationResults, row: Row) -> list[str]:
    """Parameters and seconds of a row, where they are asked for; what the journal held cost nothing here."""
    if not results.study.spec.costs:
        return []
    name = row.same_as or row.name
    size, spent = results.parameters.get(name), results.seconds.get(name)
    return ["–" if size is None else f"{size:,}", "–" if spent is None else f"{spent:.1f}"]


def comparison_forest(results: AblationResults) -> str | None:
    """Differences as far as they are defined: primary comparisons first, then those to the reference."""
    rows = [row for row in (*results.first_rows(MOST_BARS), *results.baselines) if row.kind != "primary"]
    spec, primary = results.study.spec, primary_of(results.metrics)
    marks = [
        *primary_marks(results.primary, primary, spec),
        *(mark_of(group, spec) for group in folded([row for row in rows if is_defined(row.difference)])),
    ]
    return differences(marks, called(results.study.reference, spec), primary) if marks else None


def is_defined(found: Found | None) -> bool:
    """Whether there is a difference to draw."""
    return found is not None and found["difference"] is not None


def primary_marks(comparisons: Sequence[Comparison], metric: Metric, spec: AblateSpec) -> list[Mark]:
    """A mark for each comparison that was named beforehand, whatever it is between."""
    gain = metric.gain
    return [
        Mark(
            name=f"{called(one.a, spec)} against {called(one.b, spec)}",
            value=one.found["difference"],
            low=one.found["ci_low"],
            high=one.found["ci_high"],
            primary=True,
            beats=one.p_holm is not None and one.p_holm < words.LEVEL and gain(one.found["difference"]) > 0,
        )
        for one in comparisons
        if one.found is not None and is_defined(one.found)
    ]


def mark_of(group: Group, spec: AblateSpec) -> Mark:
    """A mark for rows that came out alike."""
    row = group.rows[0]
    found = row.difference or {}
    return Mark(
        name=drawn_name(row, spec) if len(group.rows) == 1 else group.name,
        value=found["difference"],
        low=found["ci_low"],
        high=found["ci_high"],
        primary=False,
        beats=row.versus_mean_pool is not None and row.beats_mean_pool,
    )


def heat_words(heat: Heat, primary: Metric) -> str:
    """What the heat map must not be taken for."""
    shade = "darkest" if primary.lower_is_better else "brightest"
    return (
        f"Mean {primary.words} over {heat.x} and {heat.y}. The {shade} cell was found by looking: "
        "neighbouring cells differ by chance, so a single best cell is no result."
    )
