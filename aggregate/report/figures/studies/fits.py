"""Curves of a fit: training and held-out loss of every seed against the epoch."""

import matplotlib
import pandas as pd
from matplotlib.ticker import MaxNLocator

from aggregate.report.figures.drawing import COLOURS, NAME, STYLE, Drawing, axes, svg
from cache_schema.common.terminal.visible import label

LINES = {
    "training_loss": ("training slices", COLOURS[1], "--"),
    "held_out_loss": ("held-out slices", COLOURS[0], "-"),
}


def fit_figures(curves: pd.DataFrame) -> list[tuple[str, Drawing]]:
    """Name and figure of every detector with more than one epoch.

    Args:
        curves: As in `curves.csv`.
    """
    losses = curves[curves["quantity"].isin(list(LINES))]
    return [
        (str(name), fit_figure(str(name), own))
        for name, own in losses.groupby("detector", sort=False)
        if own["epoch"].max() > 1
    ]


def fit_figure(name: str, own: pd.DataFrame) -> Drawing:
    """One detector's, a line per seed."""
    with matplotlib.rc_context(STYLE):
        figure, ax = axes(4.6, 3.4)
        for quantity, (words, colour, dash) in LINES.items():
            rows = own[own["quantity"] == quantity]
            for number, (_, line) in enumerate(rows.groupby("seed", sort=True)):
                said = words if number == 0 else None
                ax.plot(line["epoch"], line["value"], color=colour, ls=dash, lw=1.6, label=said)
        ax.set(xlabel="epoch", ylabel="loss", title=label(name, NAME))
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.legend(loc="upper right")
    held_out = own[own["quantity"] == "held_out_loss"]
    least = held_out["value"].to_numpy().argmin()
    value, epoch = held_out["value"].to_numpy()[least], held_out["epoch"].to_numpy()[least]
    told = f"{name}: least held-out loss {value:.4g} at epoch {epoch}"
    return svg(figure, f"fit-{name}", told, own, detector=name)
