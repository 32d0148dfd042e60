"""Who is called what: counts with shares of their rows, as a table and as a figure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.patches import Rectangle

from aggregate.report.figures.drawing import NAME, STYLE, Drawing, axes, svg
from aggregate.statistics.classes.confusion import confusion_table, mean_over
from cache_schema.common.terminal.visible import label

DARKEST = 0.45
"""Opacity behind a count that is all of its row; the text on it stays readable."""


@dataclass(frozen=True, slots=True)
class Count:
    """One cell of who is called what."""

    participants: str
    share: str
    """Of its row."""
    shade: str
    """Opacity of the colour behind it."""
    right: bool
    """Called what it is."""


@dataclass(frozen=True, slots=True)
class Confusion:
    """Who is called what; a table, so that it is read aloud cell by cell."""

    classes: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Count, ...]], ...]


def confusion_of(classes: list[str], counts: list[list[float]]) -> Confusion:
    """Counts with shares of their rows."""
    rows = []
    for place, (name, row) in enumerate(zip(classes, counts, strict=True)):
        total = sum(row)
        shares = [n / total if total else 0.0 for n in row]
        cells = [
            Count(f"{n:.1f}".removesuffix(".0"), f"{share:.0%}", f"{DARKEST * share:.3f}", at == place)
            for at, (n, share) in enumerate(zip(row, shares, strict=True))
        ]
        rows.append((name, tuple(cells)))
    return Confusion(tuple(classes), tuple(rows))


def confusion_figure(metrics: Mapping[str, Any], prefix: str = "") -> Drawing | None:
    """Who is called what, in shares of a row, with counts; None where there are no classes.

    Args:
        metrics: As in `metrics.json`.
        prefix: Of the name of its files.
    """
    if "confusion" not in metrics:
        return None
    table = confusion_table(metrics["classes"], metrics["confusion"]["counts"], mean_over(metrics))
    drawing = confusion_drawn(table)
    drawing.name = f"{prefix}confusion"
    return drawing


def confusion_drawn(table: pd.DataFrame) -> Drawing:
    """The figure of a `confusion_table`."""
    classes = list(dict.fromkeys(map(str, table["label"])))
    counts = table["participants"].to_numpy(float).reshape(len(classes), len(classes)).tolist()
    over = f", mean over {table['mean_over'].iloc[0]}" if "mean_over" in table else ""
    told = confusion_of(classes, counts)
    names, places = [label(name, NAME) for name in told.classes], range(len(told.classes))
    with matplotlib.rc_context(STYLE):
        figure, ax = axes(2.4 + 0.75 * len(names), 1.6 + 0.75 * len(names))
        for row, (_, cells) in enumerate(told.rows):
            for column, cell in enumerate(cells):
                ax.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, alpha=float(cell.shade), lw=0))
                text = f"{cell.participants}\n{cell.share}"
                ax.text(
                    column, row, text, ha="center", va="center", weight="bold" if cell.right else "normal"
                )
        ax.set(xlim=(-0.5, len(names) - 0.5), ylim=(len(names) - 0.5, -0.5), xlabel="called", ylabel="is")
        ax.set_xticks(places, names, rotation=30, ha="right")
        ax.set_yticks(places, names)
        ax.set_aspect("equal")
        if over:
            ax.set_title(f"participants{over}", fontsize="medium")
    said = "; ".join(
        f"{name} called {other} {cell.participants}"
        for name, cells in told.rows
        for other, cell in zip(told.classes, cells, strict=True)
    )
    return svg(figure, "confusion", f"Participants{over}: {said}", table)
