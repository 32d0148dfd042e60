"""How scores lie in every class: a dot per participant, with median and quartiles."""

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd

from aggregate.common.arrays import Floats
from aggregate.report.figures.drawing import COLOURS, NAME, STYLE, Drawing, axes, svg
from cache_schema.common.terminal.visible import label

MOST_DOTS = 1000
"""Participants of a class that are drawn as dots; the quartiles are of all."""
COLUMNS = 50
"""Steps of the axis in which dots are stacked."""
ROOM = 0.36
"""Half the height that the dots of a class may take."""
SHAPES = ("o", "s", "^", "D", "v", "P")


def score_table(people: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    """participant_id, label, score: of two classes the positive one's probability, of more the own one's."""
    score = people[f"p_{classes[1]}"] if len(classes) == 2 else people["own"]
    return pd.DataFrame(
        {"participant_id": people["participant_id"], "label": people["label"], "score": score}
    )


def distribution(
    table: pd.DataFrame,
    classes: Sequence[str],
    axis: str,
    threshold: Sequence[float] | None,
    salt: str = "scores",
    span: Sequence[float] | None = None,
) -> Drawing:
    """One row per class.

    Args:
        table: As `score_table` gives it.
        classes: From bottom to top, so that the positive one is on top.
        axis: What the score is.
        threshold: Least and largest threshold of the runs; None where there is none.
        salt: As in `svg`.
        span: Ends of the axis; None where scores are probabilities.
    """
    low_end, high_end = span or (0.0, 1.0)
    width = (high_end - low_end) or 1.0
    with matplotlib.rc_context(STYLE):
        figure, ax = axes(4.9, 1.0 + 1.15 * len(classes))
        if threshold is not None:
            ax.axvspan(threshold[0], threshold[1], color="#d1d5db", lw=0)
            ax.axvline(sum(threshold) / 2, color="#6b7280", lw=1, ls="--")
        for row, name in enumerate(classes):
            values = np.sort(table.loc[table["label"] == name, "score"].to_numpy(dtype=np.float64))
            if not len(values):
                continue
            colour = COLOURS[row % 6]
            dots = thinned(values)
            ax.plot(
                dots,
                row + stacked((dots - low_end) / width),
                SHAPES[row % 6],
                color=colour,
                ms=5,
                alpha=0.65,
                mew=0,
                clip_on=False,
            )
            low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
            ax.plot([low, high], [row, row], color="#111827", lw=1.5, zorder=3)
            ax.plot(middle, row, "|", color="#111827", ms=18, mew=2.5, zorder=3)
        counts = [int((table["label"] == name).sum()) for name in classes]
        names = [f"{label(name, NAME)}\n(n = {n})" for name, n in zip(classes, counts, strict=True)]
        ax.set_yticks(range(len(classes)), names)
        ends = low_end - 0.02 * width, low_end + 1.02 * width
        ax.set(xlim=ends, ylim=(-0.6, len(classes) - 0.4), xlabel=label(axis))
        ax.tick_params(axis="y", length=0)
        ax.spines["left"].set_visible(False)
    told = "; ".join(
        f"{name} {table.loc[table['label'] == name, 'score'].median():{'.2f' if span is None else '.4g'}}"
        for name, n in zip(classes, counts, strict=True)
        if n
    )
    alt = f"{axis} by label, medians: {told}"
    facts: dict[str, Any] = {
        "classes": list(classes),
        "axis": axis,
        "threshold": threshold and list(threshold),
    }
    facts |= {} if span is None else {"span": list(span)}
    return svg(figure, salt, alt, table, **facts)


def thinned(values: Floats) -> Floats:
    """At most `MOST_DOTS` of sorted values, evenly from least to largest."""
    if len(values) <= MOST_DOTS:
        return values
    return values[np.linspace(0, len(values) - 1, MOST_DOTS).round().astype(int)]


def stacked(values: Floats) -> Floats:
    """Heights (dot,) at which dots of one row lie side by side: to and fro from the middle, no draw in it.

    Args:
        values: Sorted, between 0 and 1.
    """
    place = np.floor(values * COLUMNS).astype(np.int64)
    first = np.searchsorted(place, place, side="left")
    nth = np.arange(len(values)) - first
    side = np.where(nth % 2 == 0, 1, -1) * ((nth + 1) // 2)
    most = max(1, int(np.abs(side).max(initial=0)))
    return np.asarray(side * min(0.09, ROOM / most), dtype=np.float64)
