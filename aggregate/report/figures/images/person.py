"""Figures of one participant: where the score lies among the cohort's, and the map over height."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
import pandas as pd

from aggregate.common.arrays import Floats
from aggregate.report.figures.drawing import COLOURS, DASHES, NAME, STYLE, Drawing, axes, svg
from cache_schema.common.terminal.visible import label

MOST_POINTS = 120
"""Of a group; of a larger one so many, evenly spread over its ranks."""
OTHERS = ("#6b7280", COLOURS[2], COLOURS[3])
"""Of lines beside the own one."""
GOLDEN = 0.6180339887498949
"""Steps of this share of a row lie nowhere on one another."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line over height."""

    height_mm: Floats
    values: Floats
    low: Floats | None = None
    """Where its band begins, if it has one."""
    high: Floats | None = None


def strip_figure(groups: Mapping[str, Floats], own: Sequence[float], told: str) -> Drawing:
    """Scores of a cohort as points, a row per group, this participant's as diamonds.

    Args:
        groups: Scores by group, from top to bottom.
        own: This participant's.
        told: What the horizontal axis shows.
    """
    with matplotlib.rc_context(STYLE):
        figure, ax = axes(6.4, 1.3 + 0.45 * len(groups))
        for row, values in enumerate(groups.values()):
            some = _spread(values)
            aside = 0.6 * ((np.arange(len(some)) * GOLDEN) % 1 - 0.5)
            ax.plot(
                some,
                row + aside,
                "o",
                color=COLOURS[row % 6],
                alpha=0.7 if len(some) < 40 else 0.4,
                ms=5,
                mec="none",
            )
        for value in own:
            ax.axvline(value, color="#111827", lw=1.2)
            ax.plot(value, -0.62, "v", color="#111827", ms=8, clip_on=False)
        ax.set_yticks(range(len(groups)), [label(name, NAME) for name in groups])
        ax.set_ylim(len(groups) - 0.5, -0.62)
        ax.set_xlabel(told)
        ax.tick_params(axis="y", length=0)
        ax.spines["left"].set_visible(False)
    table = pd.concat([pd.DataFrame({"group": name, "score": values}) for name, values in groups.items()])
    shown = ", ".join(f"{value:.3g}" for value in own)
    return svg(figure, "strip", f"{told}: this participant at {shown}, among all others", table)


def _spread(values: Floats) -> Floats:
    """Values in order, at most `MOST_POINTS` of them."""
    ordered = np.sort(values)
    if len(ordered) <= MOST_POINTS:
        return ordered
    return ordered[np.linspace(0, len(ordered) - 1, MOST_POINTS).round().astype(int)]


def curve_figure(
    salt: str,
    lines: Mapping[str, Line],
    named_mm: Sequence[float],
    told: str,
    from_pole: str,
    even: float | None = None,
    truth_mm: Sequence[float] = (),
) -> Drawing:
    """A volume's map over height beside others, the pole on top; the first line is the volume's own.

    Args:
        salt: Keeps figures of a page apart.
        lines: By what they are called.
        named_mm: Heights of the slices that are shown.
        told: What the horizontal axis shows.
        from_pole: What heights are counted from.
        even: Where a slice that says nothing lies.
        truth_mm: Heights of slices with a lesion.
    """
    with matplotlib.rc_context(STYLE):
        figure, ax = axes(4.6, 4.8)
        for reached in truth_mm:
            ax.axhline(reached, color="#22d3ee", lw=2.4, alpha=0.35, zorder=0)
        if even is not None:
            ax.axvline(even, color="#9ca3af", lw=1, ls="--")
        for index, (name, line) in enumerate(lines.items()):
            order = np.argsort(line.height_mm, kind="stable")
            height, own = line.height_mm[order], index == 0
            if line.low is not None and line.high is not None:
                ax.fill_betweenx(
                    height, line.low[order], line.high[order], color=COLOURS[0], alpha=0.18, lw=0
                )
            dash, colour = ("-", COLOURS[0]) if own else (DASHES[index % 3], OTHERS[index % 3])
            width = 2.4 if own else 1.4
            ax.plot(line.values[order], height, color=colour, ls=dash, lw=width, label=label(name, 44))
        if named_mm:
            first = next(iter(lines.values()))
            at = [int(np.argmin(np.abs(first.height_mm - height))) for height in named_mm]
            ax.plot(first.values[at], first.height_mm[at], "o", color=COLOURS[1], ms=7, label="shown below")
        ax.set(xlabel=told, ylabel=f"mm {from_pole}")
        ax.invert_yaxis()
        ax.locator_params(axis="x", nbins=5)
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), fontsize=10)
    heights = ", ".join(f"{height:.0f}" for height in named_mm)
    parts = [
        pd.DataFrame({"name": name, "height_mm": line.height_mm, "value": line.values})
        for name, line in lines.items()
    ]
    return svg(figure, salt, f"{told} over height; shown below: {heights} mm {from_pole}", pd.concat(parts))
