"""The report's figures, as inline SVG: the same numbers give the same bytes."""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from aggregate.metrics import auroc

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito's palette, told apart by colour-blind readers."""
GREY = "#6b7280"
STYLE = {
    "svg.hashsalt": "slicecache",
    "svg.fonttype": "path",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
BIN_MM = 5.0
"""Width of the height bins of the attention figure."""


@contextmanager
def svg(width: float, height: float) -> Iterator[tuple[Axes, list[str]]]:
    """Yield axes (inches) and a list that receives the SVG text when the figure is done."""
    found: list[str] = []
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure.subplots(), found
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    text = buffer.getvalue()
    found.append(text[text.index("<svg") :])


def forest(rows: Sequence[tuple[str, dict[str, Any]]], chance: float = 0.5) -> str:
    """AUROC with its interval, one line per configuration, the head first."""
    with svg(6.2, 0.6 + 0.42 * len(rows)) as (axes, found):
        for place, (_, interval) in enumerate(rows):
            value, low, high = interval["value"], interval["ci_low"], interval["ci_high"]
            colour = COLOURS[0] if place == 0 else GREY
            if value is None:
                continue
            if low is not None:
                axes.plot([low, high], [-place, -place], color=colour, lw=2, solid_capstyle="round")
            axes.plot(value, -place, "o", color=colour, ms=7)
        axes.axvline(chance, color=GREY, lw=1, ls=":")
        axes.set_yticks([-place for place in range(len(rows))], [name for name, _ in rows])
        axes.set_ylim(-len(rows) + 0.4, 0.6)
        axes.set_xlim(min(0.3, _lowest(rows)), 1.02)
        axes.set_xlabel("AUROC, mean of folds, 95 % interval; dotted: chance")
    return found[0]


def _lowest(rows: Sequence[tuple[str, dict[str, Any]]]) -> float:
    """Where the axis has to begin."""
    values = [v for _, row in rows for v in (row["value"], row["ci_low"]) if v is not None]
    return min(values, default=0.3) - 0.02


def roc(predictions: pd.DataFrame, configurations: Sequence[str], positive: str) -> str:
    """ROC curves by configuration: the mean over folds of the curve within each fold."""
    with svg(4.6, 4.2) as (axes, found):
        axes.plot([0, 1], [0, 1], color=GREY, lw=1, ls=":")
        grid = np.linspace(0, 1, 101)
        for place, name in enumerate(configurations):
            own = predictions[predictions["configuration"] == name]
            curves, areas = _curves(own, positive, grid)
            if not len(curves):
                continue
            colour = COLOURS[place % len(COLOURS)]
            if place == 0:
                for repeat in np.unique(curves[:, 0]):
                    mean = curves[curves[:, 0] == repeat, 1:].mean(axis=0)
                    axes.plot(grid, mean, color=colour, lw=0.6, alpha=0.35)
            label = f"{name} ({np.mean(areas):.2f})"
            style = "-" if place == 0 else "--"
            axes.plot(
                grid, curves[:, 1:].mean(axis=0), style, color=colour, lw=2.2 - 0.8 * (place > 0), label=label
            )
        axes.set(xlabel="1 - specificity", ylabel="sensitivity", xlim=(0, 1), ylim=(0, 1.01))
        axes.set_aspect("equal")
        axes.legend(loc="lower right", frameon=False, fontsize=8)
    return found[0]


def _curves(
    own: pd.DataFrame, positive: str, grid: NDArray[np.float64]
) -> tuple[NDArray[np.float64], list[float]]:
    """Sensitivity on the grid for each fold (fold, 1 + grid), the repeat in front, and the areas."""
    curves, areas = [], []
    for _, part in own.groupby(["repeat", "fold", "seed"]):
        people = part.groupby("participant_id", sort=False).agg(y=("y", "first"), p=(f"p_{positive}", "mean"))
        y = (people["y"] == positive).to_numpy(dtype=np.int64)
        if y.min() == y.max():
            continue
        p = people["p"].to_numpy(dtype=np.float64)
        thresholds = np.unique(p)[::-1]
        called = p[None, :] >= thresholds[:, None]
        sensitivity = np.concatenate([[0], called[:, y == 1].mean(axis=1)])
        false = np.concatenate([[0], called[:, y == 0].mean(axis=1)])
        curves.append(
            np.concatenate([[float(part["repeat"].iloc[0])], step_interpolate(grid, false, sensitivity)])
        )
        areas.append(auroc(y.astype(np.int64), p))
    return np.array(curves), areas


def step_interpolate(
    grid: NDArray[np.float64], x: NDArray[np.float64], y: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Linear interpolation that takes the upper end of a vertical step."""
    ends = np.append(x[1:] > x[:-1], True)
    return np.interp(grid, x[ends], y[ends])


def attention_by_height(attention: pd.DataFrame, classes: Sequence[str]) -> str:
    """Mean attention over participants by height, one line and band (standard error) per label."""
    with svg(6.6, 3.2) as (axes, found):
        axes.axhline(1, color=GREY, lw=1, ls=":")
        height = (attention["height_mm"] / BIN_MM).round() * BIN_MM
        by_person = (
            attention.assign(height=height)
            .groupby(["label", "participant_id", "height"], sort=True)["attention"]
            .mean()
            .reset_index()
        )
        for place, label in enumerate(classes):
            groups = by_person[by_person["label"] == label].groupby("height")["attention"]
            n, mean = groups.count(), groups.mean()
            error: pd.Series[float] = (groups.std() / np.sqrt(n)).fillna(0.0)
            kept = n >= max(2, 0.2 * n.max()) if len(n) else n
            x, y, e = mean.index[kept].to_numpy(), mean[kept].to_numpy(), error[kept].to_numpy()
            colour = COLOURS[place % len(COLOURS)]
            axes.fill_between(x, y - e, y + e, color=colour, alpha=0.2, lw=0)
            axes.plot(x, y, color=colour, lw=2, label=label)
        axes.set(xlabel="mm below the vertex", ylabel="attention x slices")
        axes.legend(frameon=False)
    return found[0]
