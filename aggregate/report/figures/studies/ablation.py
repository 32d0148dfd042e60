"""Figures of an ablation: differences with their intervals, and the primary metric over two axes."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from aggregate.ablate.findings.heat import Heat, Panel
from aggregate.cohort.task import Metric
from aggregate.report.figures.drawing import COLOURS, STYLE, Drawing, axes, svg
from cache_schema.common.terminal.visible import label

ROW = 0.3
"""Inches of a row of the forest plot."""
LEAST = 0.1
"""Of the metric: what the colours span at least, so that noise does not look like a landscape."""


@dataclass(frozen=True, slots=True)
class Mark:
    """One row of the forest plot of differences."""

    name: str
    value: float
    low: float | None
    high: float | None
    primary: bool
    """Named beforehand: drawn thick."""
    beats: bool
    """Shown to beat mean pooling + logistic regression, or of a primary one its other side; hollow if not."""


def differences(marks: Sequence[Mark], reference: str, metric: Metric) -> Drawing:
    """Differences of the primary metric, a row each: primary ones first, then those to the reference."""
    side = "left" if metric.lower_is_better else "right"
    with matplotlib.rc_context(STYLE):
        figure, ax = axes(10.6, 1.0 + ROW * len(marks))
        ax.axvline(0, color="#6b7280", lw=1.2)
        n_primary = sum(mark.primary for mark in marks)
        if 0 < n_primary < len(marks):
            ax.axhline(n_primary - 0.5, color="#d1d5db", lw=1)
        for row, mark in enumerate(marks):
            colour = COLOURS[0] if mark.primary else "#4b5563"
            if mark.low is not None and mark.high is not None:
                ax.plot([mark.low, mark.high], [row, row], color=colour, lw=3.2 if mark.primary else 1.4)
            face = colour if mark.beats else "white"
            shape = "D" if mark.primary else "o"
            ax.plot(mark.value, row, shape, color=colour, mfc=face, ms=8 if mark.primary else 6)
        ax.set_yticks(range(len(marks)), [label(mark.name) for mark in marks])
        ax.set_ylim(len(marks) - 0.4, -0.6)
        below = f" to {label(reference)}" if n_primary < len(marks) else ""
        ax.set_xlabel(f"difference of {metric.words}{below} ({side}: better)", loc="right")
        ax.tick_params(axis="y", length=0)
        ax.spines["left"].set_visible(False)
    told = "; ".join(f"{mark.name} {mark.value:+.3f}" for mark in marks)
    told = f"Differences of {metric.words} to {reference} with intervals: {told}"
    table = pd.DataFrame([asdict(mark) for mark in marks])
    return svg(figure, "differences", told, table, reference=reference, metric=metric.name)


def heat_map(heat: Heat, metric: str) -> Drawing:
    """One panel per combination of the other axes, all on one colour scale."""
    n = len(heat.panels)
    columns = min(n, 2)
    rows = -(-n // columns)
    wide, tall = 1.1 + 0.72 * len(heat.x_values), 1.0 + 0.55 * len(heat.y_values)
    everything = np.concatenate([panel.values.ravel() for panel in heat.panels])
    low, high = float(np.nanmin(everything)), float(np.nanmax(everything))
    middle, half = (low + high) / 2, max(high - low, LEAST) / 2
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(columns * wide + 1.3, rows * tall), layout="constrained")
        for index, panel in enumerate(heat.panels):
            ax = figure.add_subplot(rows, columns, index + 1)
            drawn = ax.imshow(
                panel.values, cmap="cividis", vmin=middle - half, vmax=middle + half, aspect="auto"
            )
            for (row, column), value in np.ndenumerate(panel.values):
                light = value < middle
                text = "–" if np.isnan(value) else f"{value:.2f}"
                ax.text(column, row, text, ha="center", va="center", color="white" if light else "black")
            ax.set_xticks(range(len(heat.x_values)), [f"{value:g}" for value in heat.x_values])
            ax.set_yticks(range(len(heat.y_values)), [f"{value:g}" for value in heat.y_values])
            ax.set(xlabel=label(heat.x), ylabel=label(heat.y), title=label(panel.title))
            ax.tick_params(length=0)
            for spine in ax.spines.values():
                spine.set_visible(False)
        bar = figure.colorbar(drawn, ax=figure.axes, aspect=25, pad=0.02)
        bar.set_label(metric)
        bar.outline.set_visible(False)
    told = f"{metric} over {heat.x} and {heat.y}, from {low:.2f} to {high:.2f}"
    return svg(figure, "heat", told, heat_table(heat), x=heat.x, y=heat.y, metric=metric)


def heat_table(heat: Heat) -> pd.DataFrame:
    """A row per cell: panel, y, x, value."""
    rows = [
        (panel.title, heat.y_values[row], heat.x_values[column], value)
        for panel in heat.panels
        for (row, column), value in np.ndenumerate(panel.values)
    ]
    return pd.DataFrame(rows, columns=["panel", "y", "x", "value"])


def heat_from(table: pd.DataFrame, x: str, y: str) -> Heat:
    """The heat map of a `heat_table`."""
    y_values, x_values = (tuple(table[name].unique().tolist()) for name in ("y", "x"))
    panels = [
        Panel(str(title), rows["value"].to_numpy(float).reshape(len(y_values), len(x_values)))
        for title, rows in table.groupby("panel", sort=False)
    ]
    return Heat(x, y, x_values, y_values, tuple(panels))
