"""Decision curves: net benefit over thresholds, beside treating everybody and nobody."""

from collections.abc import Mapping

import matplotlib
import numpy as np
import pandas as pd

from aggregate.common.arrays import Floats
from aggregate.report.figures.drawing import STYLE, Drawing, axes, drawn_line, svg
from aggregate.report.text.words import named
from aggregate.statistics.decision import decision_curve

FIXED = ("threshold", "treat_all", "treat_none")
FLOOR = -0.05
"""Net benefits below this are cut off: all that they say is that the threshold does harm."""


def decision_table(said: Mapping[str, tuple[Floats, Floats]]) -> pd.DataFrame:
    """Net benefit of every configuration; with several rounds its mean over them.

    Args:
        said: By configuration truth (1 for positive) and the positive class's probability, each of all
            participants and rounds: counted together they are the mean over rounds.

    Returns:
        threshold, treat_all, treat_none and a column per configuration.
    """
    curves = {
        name: decision_curve(truth.astype(np.int64), p) for name, (truth, p) in said.items() if len(truth)
    }
    one = next(iter(curves.values()))
    fixed = (one.threshold, one.treat_all, np.zeros(len(one.threshold)))
    columns = dict(zip(FIXED, fixed, strict=True))
    return pd.DataFrame({**columns, **{name: curve.model for name, curve in curves.items()}})


def net_benefit(table: pd.DataFrame, salt: str = "decision-curve") -> Drawing:
    """Net benefit over thresholds beside treating all and none.

    Args:
        table: As `decision_table` gives it.
        salt: As in `svg`.
    """
    models = [name for name in table if name not in FIXED]
    top = float(table[["treat_all", *models]].to_numpy().max())
    with matplotlib.rc_context(STYLE):
        figure, ax = axes(5.4, 4.0 + 0.22 * (len(models) + 2) / 2)
        ax.plot(table["threshold"], table["treat_all"], color="#6b7280", lw=1.2, label="treat all")
        ax.axhline(0, color="#111827", lw=1, label="treat none")
        for index, name in enumerate(models):
            drawn_line(ax, index, table["threshold"], table[name], named(str(name)))
        ax.set(xlim=(0, 1), ylim=(FLOOR, max(top, 0.05) * 1.05))
        ax.set(xlabel="threshold probability", ylabel="net benefit")
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2, fontsize=10)
    told = "Net benefit over threshold probability, beside treating all and none"
    return svg(figure, salt, told, table)
