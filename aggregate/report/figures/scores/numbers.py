"""Figures of predicted numbers: prediction over truth, and error over truth."""

import matplotlib
import numpy as np
import pandas as pd

from aggregate.report.figures.drawing import COLOURS, STYLE, Drawing, axes, svg
from aggregate.report.text.words import head_of, number
from aggregate.statistics.numbers import number_metrics
from aggregate.train.results import Results
from cache_schema.common.terminal.visible import label

NUMBERS = "regression"
"""The task whose predictions are drawn."""


def number_figures(results: Results) -> dict[str, Drawing]:
    """`scatter` and `bias` of the head's out-of-fold predictions; nothing for a target of another kind."""
    if results.metrics.get("task") != NUMBERS:
        return {}
    frame = results.predictions
    own = frame[(frame["configuration"] == head_of(results.metrics)) & frame["repeat"].notna()]
    people = own.groupby("participant_id", sort=True)[["y", "prediction"]].mean()
    table = pd.DataFrame({"truth": people["y"].astype(float), "prediction": people["prediction"]})
    target = str(results.metrics["target"])
    return {"scatter": scatter(table, target, "scatter"), "bias": bias_over_truth(table, target, "bias")}


def scatter(table: pd.DataFrame, target: str, salt: str) -> Drawing:
    """Prediction over truth, a point per participant, with the line on which both are equal.

    Args:
        table: truth, prediction.
        target: What is predicted.
        salt: As in `svg`.
    """
    x, y = table["truth"].to_numpy(dtype=float), table["prediction"].to_numpy(dtype=float)
    low, high = float(min(x.min(), y.min())), float(max(x.max(), y.max()))
    with matplotlib.rc_context(STYLE):
        figure, ax = axes(4.4, 4.4)
        ax.plot([low, high], [low, high], color="#9ca3af", lw=1, ls="--")
        ax.plot(x, y, "o", color=COLOURS[0], ms=5, alpha=0.6, mew=0)
        ax.set(xlabel=label(target), ylabel=f"{label(target)}, predicted")
        ax.set_aspect("equal")
    found = number_metrics(x, y)
    words = f"MAE {number(found['mae'])} and R² {number(found['r2'])} of these points"
    told = f"Predicted over true {target} of {len(x)} participants, {words}"
    return svg(figure, salt, told, table, target=target)


def bias_over_truth(table: pd.DataFrame, target: str, salt: str) -> Drawing:
    """Error over truth with its line; arguments as `scatter`."""
    x = table["truth"].to_numpy(dtype=float)
    error = table["prediction"].to_numpy(dtype=float) - x
    told = number_metrics(x, x + error)
    ends = np.array([x.min(), x.max()])
    with matplotlib.rc_context(STYLE):
        figure, ax = axes(4.4, 4.4)
        ax.axhline(0, color="#9ca3af", lw=1, ls="--")
        ax.plot(x, error, "o", color=COLOURS[0], ms=5, alpha=0.6, mew=0)
        ax.plot(ends, told["bias_intercept"] + told["bias_slope"] * ends, color=COLOURS[1], lw=2)
        ax.set(xlabel=label(target), ylabel="predicted − true")
    slope = number(told["bias_slope"], signed=True)
    return svg(figure, salt, f"Error over true {target}: slope {slope} per unit", table, target=target)
