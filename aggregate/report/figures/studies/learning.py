"""Losses over epochs: every run thin, their mean bold as long as half of them train."""

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from aggregate.report.figures.drawing import COLOURS, STYLE, Drawing, svg
from aggregate.train.history import RUN
from aggregate.training.runs import VALIDATION
from cache_schema.common.text.counts import counted

MOST_LINES = 60
"""Runs that are drawn one by one."""
WORDS = {"train_loss": "training loss", f"{VALIDATION}1_minus_auroc": "validation, 1 − AUROC"}


def learning_figure(history: pd.DataFrame | None) -> Drawing | None:
    """The curves, or None where nothing was trained."""
    if history is None or history.empty or history["epoch"].max() < 2:
        return None
    shown = [name for name in history if name == "train_loss" or str(name).startswith(VALIDATION)]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(4.6 * len(shown), 3.4), layout="constrained")
        for index, name in enumerate(shown):
            _draw(figure.add_subplot(1, len(shown), index + 1), history, str(name), COLOURS[index])
    told = ", ".join(_told(str(name)) for name in shown)
    n = history.groupby(list(RUN)).ngroups
    return svg(figure, "learning", f"By epoch, of {counted(n, 'run')}: {told}", history)


def _told(name: str) -> str:
    return WORDS.get(name, name.replace(VALIDATION, "validation, ").replace("_", " "))


def _draw(ax: Axes, history: pd.DataFrame, name: str, colour: str) -> None:
    """One loss."""
    table = history.pivot_table(index="epoch", columns=list(RUN), values=name)
    for _, values in list(table.items())[:MOST_LINES]:
        ax.plot(values.index, values, color=colour, lw=0.7, alpha=0.35)
    alive = table.notna().sum(axis=1)
    mean = table.mean(axis=1)[alive >= alive.max() / 2]
    ax.plot(mean.index, mean, color=colour, lw=2.5)
    kept = history[history["kept"] & history[name].notna()]
    ax.plot(kept["epoch"], kept[name], "o", color="#111827", ms=3)
    low, high = np.nanquantile(table.to_numpy(), [0.0, 0.99])
    ax.set_ylim(min(0.0, float(low)), max(float(high), float(low) + 1e-9) * 1.05)
    ax.set(xlabel="epoch", ylabel=_told(name))
