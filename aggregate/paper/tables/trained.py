"""A training, or an evaluation: every measure, every comparison, other cohorts and contrasts."""

from collections.abc import Mapping, Sequence
from typing import Any

from aggregate.paper.finished import Finished
from aggregate.paper.tables.table import Table, measure_tables
from aggregate.report.text.tables import comparison_table
from aggregate.report.text.words import head_of, named
from aggregate.statistics.classes.confusion import mean_over
from aggregate.targets.told import primary_of


def training_tables(run: Finished) -> list[Table]:
    """Every measure of the head and its baselines, and what they differ by."""
    metrics = run.metrics
    rows = {named(head_of(metrics)): metrics["metrics"]}
    rows |= {named(name): row for name, row in metrics["baselines"].items()}
    where = "on participants outside training" if run.verb == "evaluate" else "out of fold"
    caption = (
        f"{metrics['target']}, {metrics['n_participants']} participants, {where}; value (95 % interval)."
    )
    found = measure_tables("results", caption, rows)
    compared = comparison_table(metrics)
    if compared is not None:
        told = f"Differences of {primary_of(metrics).words} to what stands beside it."
        found.append(Table("comparison", told, compared.head, compared.rows))
    if "confusion" in metrics:
        found.append(confusion(metrics))
    return [*found, *external_tables(run), *contrast_tables(run)]


def external_tables(run: Finished) -> list[Table]:
    """What the bundle is worth on the cohort that the pipeline names beside its own."""
    outside = run.page.get("external") if run.verb == "train" else None
    if not isinstance(outside, dict):
        return []
    return [
        Table(
            "external" if index == 0 else f"external_{index + 1}",
            "The bundle on participants outside training; value (95 % interval).",
            ("", *map(str, names)),
            tuple((str(name), *(_lines(cell) for cell in cells)) for name, cells in rows),
        )
        for index, (names, rows) in enumerate(outside.get("tables") or [])
    ]


def contrast_tables(run: Finished) -> list[Table]:
    """Two classes at a time that were trained by themselves."""
    found = run.page.get("contrasts")
    if not isinstance(found, dict):
        return []
    rows = tuple((str(name), *(_lines(cell) for cell in cells)) for name, _, cells in found["rows"])
    caption = "Two classes at a time; p adjusted over the contrasts (Holm)."
    return [Table("contrasts", caption, tuple(map(str, found["head"])), rows)]


def _lines(cell: Sequence[str]) -> str:
    """A cell of a value and what stands below it."""
    first, *more = (str(line) for line in cell)
    below = ", ".join(line for line in more if line)
    return f"{first} ({below})" if below else first


def confusion(metrics: Mapping[str, Any]) -> Table:
    """Who is called what."""
    classes = [str(name) for name in metrics["classes"]]
    rows = [
        (name, *(f"{count:g}" for count in row))
        for name, row in zip(classes, metrics["confusion"]["counts"], strict=True)
    ]
    over = f"mean over {found}" if (found := mean_over(metrics)) else ""
    caption = f"Participants by label (rows) and what they were called{f' ({over})' if over else ''}."
    return Table("confusion", caption, (over, *classes), tuple(rows))
