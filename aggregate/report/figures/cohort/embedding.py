"""The map of participants' embeddings, once per colouring: label, site, sex, age."""

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from aggregate.report.figures.drawing import COLOURS, NAME, STYLE, Drawing, svg
from cache_schema.common.terminal.visible import label

PANELS = ("label", "value", "site", "sex", "age")
"""Columns that a panel is drawn of, where they are."""
NUMBERS = ("value", "age")
SHAPES = ("o", "s", "^", "D", "v", "P", "X", "<")
MOST_POINTS = 1000
"""Participants that are drawn."""
MOST_VALUES = 6
"""Values with a colour of their own; the rest is grey."""


def embedding_figure(table: pd.DataFrame, shares: tuple[float, float], target: str) -> Drawing:
    """Small multiples of the same points.

    Args:
        table: As the points of an `EmbeddingMap`.
        shares: Of the variance that each direction has.
        target: What label or value is of.
    """
    shown = table.iloc[np.unique(np.linspace(0, len(table) - 1, MOST_POINTS).round().astype(int))]
    there = [name for name in PANELS if name in table]
    # Where everybody is alike one panel is left, which shows the points.
    panels = [name for name in there if _several(table[name])] or there[:1]
    columns = 2 if len(panels) > 1 else 1
    rows = -(-len(panels) // columns)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(4.5 * columns, 3.9 * rows), layout="constrained")
        for place, name in enumerate(panels):
            ax = figure.add_subplot(rows, columns, place + 1)
            title = target if name in ("label", "value") else name
            ax.set_title(label(title, NAME), fontsize=11)
            if name in NUMBERS:
                _numbers(figure, ax, shown, name)
            else:
                _values(ax, shown, name)
            ax.set(xlabel=f"component 1 ({shares[0]:.0%})", ylabel=f"component 2 ({shares[1]:.0%})")
            ax.set(xticks=[], yticks=[])
    told = ", ".join(target if name in ("label", "value") else name for name in panels)
    alt = f"{len(shown)} participants on two principal components of their mean tokens, coloured by {told}"
    return svg(figure, "embedding-map", alt, table, shares=list(shares), target=target)


def _several(values: pd.Series) -> bool:
    """Whether a colour would tell anything."""
    return values.replace("", np.nan).nunique() > 1


def _numbers(figure: Figure, ax: Axes, table: pd.DataFrame, name: str) -> None:
    """Points by a number, with its colour bar; who has none is an open circle."""
    values = table[name].to_numpy(dtype=np.float64)
    known = np.isfinite(values)
    ax.scatter(table["x"][~known], table["y"][~known], s=26, facecolors="none", edgecolors="#9ca3af")
    points = ax.scatter(table["x"][known], table["y"][known], s=26, c=values[known], cmap="cividis", lw=0)
    bar = figure.colorbar(points, ax=ax)
    bar.outline.set_visible(False)


def _values(ax: Axes, table: pd.DataFrame, name: str) -> None:
    """Points by a text: colour and shape, so that neither is needed."""
    counts = table[name].value_counts()
    names = sorted(str(value) for value in counts.index[:MOST_VALUES] if str(value))
    others = ~table[name].isin(names)
    if others.any():
        own = table[others]
        ax.plot(own["x"], own["y"], "o", mfc="none", mec="#9ca3af", ms=5, label="other or not known")
    for index, value in enumerate(names):
        own = table[table[name] == value]
        shape, colour = SHAPES[index % len(SHAPES)], COLOURS[index % len(COLOURS)]
        ax.plot(own["x"], own["y"], shape, color=colour, ms=5.5, alpha=0.75, mew=0, label=label(value, 22))
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=2, fontsize=10, handletextpad=0.2)
