"""Classes, pairs of them and who is called what, as lines on a terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from aggregate.statistics.classes.confusion import mean_over
from cache_schema.common.terminal.visible import label

WIDEST = 20
"""Characters of a label in a table."""
OF_CLASS = {
    "auroc": "auroc against the rest",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "ppv": "ppv",
}


def class_lines(metrics: Mapping[str, Any]) -> list[str]:
    """Tables of classes, of pairs and of confusion; of ordered classes the last alone, of two nothing.

    Args:
        metrics: As in `metrics.json`.
    """
    names = metrics.get("classes") or ()
    if len(names) < 3 or "confusion" not in metrics:
        return []
    counts = metrics["confusion"]["counts"]
    called = [[short(name), *(f"{n:.1f}" for n in row)] for name, row in zip(names, counts, strict=True)]
    over = [f"participants, mean over {found}:"] if (found := mean_over(metrics)) else []
    return [*_apart(metrics), *over, *table_lines(["label \\ called", *map(short, names)], called), ""]


def _apart(metrics: Mapping[str, Any]) -> list[str]:
    """Tables of classes and of pairs; nothing for ordered classes, which have neither."""
    classes: Mapping[str, Any] = metrics.get("per_class") or {}
    if not classes:
        return []
    of_class = [[short(name), *(interval_cell(row[m]) for m in OF_CLASS)] for name, row in classes.items()]
    of_pair = [
        [f"{short(row['classes'][0])} and {short(row['classes'][1])}", interval_cell(row["auroc"])]
        for row in metrics["pairwise"]
    ]
    return [
        *table_lines(["class", *OF_CLASS.values()], of_class),
        "",
        *table_lines(["two classes", "auroc"], of_pair),
        "",
    ]


def table_lines(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns as wide as their widest cell, the first to the left and the others to the right."""
    widths = [max(len(row[place]) for row in (head, *rows)) for place in range(len(head))]
    return [
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))]
        )
        for row in (head, *rows)
    ]


def short(name: str) -> str:
    """A label on the terminal."""
    return label(name, WIDEST)


def interval_cell(found: Mapping[str, Any]) -> str:
    """`0.812 [0.701, 0.923]`, or a dash where not defined."""
    if found["value"] is None:
        return "-"
    if found["ci_low"] is None:
        return f"{found['value']:.3f}"
    return f"{found['value']:.3f} [{found['ci_low']:.3f}, {found['ci_high']:.3f}]"
