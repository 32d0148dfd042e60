"""Kaplan-Meier curves of risk groups, with how many are at risk below them."""

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from aggregate.common.arrays import Floats
from aggregate.common.signed_times import signed_times
from aggregate.report.figures.drawing import COLOURS, NAME, STYLE, Drawing, axes, svg
from aggregate.statistics.survival import at_risk, kaplan_meier
from cache_schema.common.terminal.visible import label

GROUPS = {"low": (COLOURS[0], "-"), "high": (COLOURS[1], "--")}
TICKS = 6


def grouped(predictions: pd.DataFrame) -> dict[str, Floats]:
    """Signed times by risk group, of participants with their mean risk over repeats, seeds and sessions.

    Args:
        predictions: Rows of one configuration, as in `predictions.csv`.
    """
    people = predictions.groupby("participant_id", sort=True)[["y_time", "y_event", "risk"]].mean()
    signed = signed_times(people["y_time"].to_numpy(float), people["y_event"].to_numpy().astype(np.int64))
    high = people["risk"].to_numpy() > 0
    return {name: own for name, own in (("low", signed[~high]), ("high", signed[high])) if len(own)}


def kaplan_meier_figure(groups: dict[str, Floats], unit: str) -> Drawing:
    """One step curve per group with its pointwise interval; `unit` names the column of times."""
    longest = max(float(np.abs(own).max()) for own in groups.values())
    with matplotlib.rc_context(STYLE):
        figure, ax = axes(5.4, 4.4)
        for name, own in groups.items():
            _curve(ax, name, own)
        ax.set(xlim=(0, longest), ylim=(0, 1.02), ylabel="share without the event")
        ax.set_xlabel(label(unit, NAME))
        ticks = [tick for tick in MaxNLocator(TICKS).tick_values(0, longest) if 0 <= tick <= longest]
        ax.set_xticks(ticks)
        for row, (name, own) in enumerate(groups.items()):
            _count(ax, f"{name}:", -0.11, row, name)
            for tick, n in zip(ticks, at_risk(own, np.array(ticks)), strict=True):
                _count(ax, str(n), tick / longest, row, name)
        _count(ax, "still at risk", -0.11, -0.9, None)
        ax.legend(loc="upper right")
    ends = [
        f"{name} risk {len(own)} at first, {kaplan_meier(own).share[-1]:.2f}" for name, own in groups.items()
    ]
    told = f"Share without the event at the end, {unit}: {'; '.join(ends)}"
    rows = [(name, value) for name, own in groups.items() for value in own]
    table = pd.DataFrame(rows, columns=["group", "signed_time"])
    return svg(figure, "kaplan-meier", told, table, unit=unit)


def _count(ax: Axes, text: str, place: float, row: float, group: str | None) -> None:
    """A text below the axis of times, at a share of its width."""
    colour = "#374151" if group is None else GROUPS[group][0]
    side = "left" if group is None else "center"
    ax.text(place, -0.27 - 0.07 * row, text, transform=ax.transAxes, color=colour, ha=side, fontsize=10)


def _curve(ax: Axes, name: str, own: Floats) -> None:
    """One group's."""
    curve, (colour, dash) = kaplan_meier(own), GROUPS[name]
    time, share = np.r_[0, curve.time], np.r_[1, curve.share]
    ax.step(time, share, where="post", color=colour, ls=dash, lw=2, label=f"{name} risk ({curve.n})")
    low, high = (np.where(np.isnan(side), curve.share, side) for side in (curve.low, curve.high))
    ax.fill_between(time, np.r_[1, low], np.r_[1, high], step="post", color=colour, alpha=0.15, lw=0)
