"""Values of the head and its baselines with their intervals, a row each."""

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
import pandas as pd

from aggregate.cohort.task import Metric
from aggregate.report.figures.drawing import COLOURS, STYLE, Drawing, axes, label_lines, svg


@dataclass(frozen=True, slots=True)
class Bar:
    """One row of the forest plot."""

    name: str
    value: float
    low: float | None
    high: float | None
    main: bool = False
    """Drawn as the one in question."""


def forest(bars: Sequence[Bar], null: tuple[float, float] | None, metric: Metric) -> Drawing:
    """Values with their intervals, one row each.

    Args:
        bars: From top to bottom.
        null: Mean and standard deviation with shuffled labels, drawn as a grey band.
        metric: Of the horizontal axis.
    """
    with matplotlib.rc_context(STYLE):
        figure, ax = axes(4.9, 0.9 + 0.52 * len(bars))
        if null is not None:
            ax.axvspan(null[0] - 2 * null[1], null[0] + 2 * null[1], color="#e5e7eb", lw=0)
        if metric.guessing is not None:
            ax.axvline(metric.guessing, color="#9ca3af", lw=1, ls="--")
        for row, bar in enumerate(bars):
            colour = COLOURS[0] if bar.main else "#4b5563"
            if bar.low is not None and bar.high is not None:
                ax.plot([bar.low, bar.high], [row, row], color=colour, lw=3 if bar.main else 1.8)
            ax.plot(bar.value, row, "D" if bar.main else "o", color=colour, ms=8 if bar.main else 6)
            ax.annotate(f"{bar.value:.2f}", (bar.value, row), (0, 7), textcoords="offset points", ha="center")
        ax.set_yticks(range(len(bars)), [label_lines(bar.name) for bar in bars])
        ax.set_ylim(len(bars) - 0.5, -0.7)
        if metric.bounds == (0, 1):
            ax.set_xlim(0, 1.02)
        ax.set_xlabel(metric.words + (" (lower is better)" if metric.lower_is_better else ""))
        ax.tick_params(axis="y", length=0)
        ax.spines["left"].set_visible(False)
    told = "; ".join(f"{bar.name} {bar.value:.2f}" for bar in bars)
    table = pd.DataFrame(
        [(bar.name, bar.value, bar.low, bar.high, bar.main) for bar in bars],
        columns=["name", "value", "low", "high", "main"],
    )
    facts = {"metric": metric.name, "null": null and list(null)}
    return svg(figure, "forest", f"{metric.words} with intervals: {told}", table, **facts)
