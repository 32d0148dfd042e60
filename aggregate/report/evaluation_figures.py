"""Figures of an external evaluation: ROC, calibration, decision curve, each from its table."""

from collections.abc import Callable

import matplotlib
import pandas as pd
from matplotlib.axes import Axes

from aggregate.evaluate.curves import Curves
from aggregate.report.figures import COLOURS, DASHES, NAME, STYLE, axes, finish_roc, svg
from aggregate.report.numbers import scatter
from aggregate.report.survival_figures import grouped, kaplan_meier_figure
from aggregate.report.words import named
from cache_schema.common.terminal.visible import label

FLOOR = -0.05
"""Net benefits below this are cut off: all that they say is that the threshold does harm."""


def evaluation_figures(curves: Curves) -> dict[str, str]:
    """SVG by the name of the table that it is drawn from."""
    draw: dict[str, Callable[[pd.DataFrame], str]] = {
        "roc": external_roc,
        "calibration": calibration_curve,
        "decision_curve": net_benefit,
        "risk_groups": external_risk_groups,
        "predicted": external_scatter,
    }
    return {name: draw[name](table) for name, table in curves.tables().items()}


def external_scatter(table: pd.DataFrame) -> str:
    """Prediction over truth of the model in question."""
    first = table[table["configuration"] == table["configuration"].iloc[0]]
    return scatter(first, "value", "external-predicted")


def external_roc(table: pd.DataFrame) -> str:
    """One curve per configuration, or per class and configuration."""
    groups = [(key, rows) for key, rows in table.groupby(["configuration", "class"], sort=False)]
    several = table["class"].nunique() > 1
    with matplotlib.rc_context(STYLE):
        figure, ax = axes(4.4, 4.6 + 0.22 * len(groups))
        ax.plot([0, 1], [0, 1], color="#d1d5db", lw=1)
        for index, ((name, of), rows) in enumerate(groups):
            told = f"{named(str(name))}: {of} against the rest" if several else named(str(name))
            _line(ax, index, rows["false_positive_rate"], rows["true_positive_rate"], told)
        finish_roc(ax)
    return svg(figure, "external-roc", "ROC curves on participants outside training")


def external_risk_groups(table: pd.DataFrame) -> str:
    """Kaplan-Meier curves of the head's frozen risk groups."""
    head = table[table["configuration"] == table["configuration"].iloc[0]]
    return kaplan_meier_figure(grouped(head), "time")


def calibration_curve(table: pd.DataFrame) -> str:
    """Observed share against mean probability in bins; of the head and the bar alone, or nothing is seen."""
    table = table[table["configuration"].isin(table["configuration"].unique()[:2])]
    with matplotlib.rc_context(STYLE):
        figure, ax = axes(4.4, 4.6 + 0.22 * table["configuration"].nunique())
        ax.plot([0, 1], [0, 1], color="#d1d5db", lw=1)
        for index, (name, rows) in enumerate(table.groupby("configuration", sort=False)):
            _line(ax, index, rows["probability"], rows["observed"], named(str(name)), marker="o")
            if index == 0:
                ax.vlines(rows["probability"], rows["low"], rows["high"], color=COLOURS[0], lw=1)
        ax.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), xlabel="probability given", ylabel="share observed")
        ax.set_aspect("equal")
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), handlelength=2.6, fontsize=10)
    told = "; ".join(f"{p:.2f} given, {o:.2f} observed" for p, o in _pairs(table))
    return svg(figure, "external-calibration", f"Calibration: {told}")


def _pairs(table: pd.DataFrame) -> list[tuple[float, float]]:
    first = table[table["configuration"] == table["configuration"].iloc[0]]
    return list(zip(first["probability"], first["observed"], strict=True))


def net_benefit(table: pd.DataFrame) -> str:
    """Net benefit over thresholds beside treating all and none."""
    models = [name for name in table if name not in ("threshold", "treat_all", "treat_none")]
    top = float(table[["treat_all", *models]].to_numpy().max())
    with matplotlib.rc_context(STYLE):
        figure, ax = axes(5.4, 4.0 + 0.22 * len(models))
        ax.plot(table["threshold"], table["treat_all"], color="#6b7280", lw=1.2, label="treat all")
        ax.axhline(0, color="#111827", lw=1, label="treat none")
        for index, name in enumerate(models):
            _line(ax, index, table["threshold"], table[name], named(str(name)))
        ax.set(xlim=(0, 1), ylim=(FLOOR, max(top, 0.05) * 1.05))
        ax.set(xlabel="threshold probability", ylabel="net benefit")
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2, fontsize=10)
    return svg(
        figure, "external-decision", "Net benefit over threshold probability, beside treating all and none"
    )


def _line(ax: Axes, index: int, x: pd.Series, y: pd.Series, name: str, marker: str = "") -> None:
    """The first configuration is drawn as the one in question."""
    style = "-" if index == 0 else DASHES[(index - 1) % len(DASHES)]
    width = 2.5 if index == 0 else 1.5
    ax.plot(x, y, color=COLOURS[index % 6], ls=style, lw=width, marker=marker, label=label(name, NAME))
