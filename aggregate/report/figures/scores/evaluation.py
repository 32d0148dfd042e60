"""Figures of an external evaluation: ROC, calibration, decision curve, each from its table."""

from collections.abc import Callable

import matplotlib
import pandas as pd

from aggregate.evaluate.curves import Curves
from aggregate.report.figures.drawing import STYLE, Drawing, axes, drawn_line, svg
from aggregate.report.figures.scores.calibration import calibration_curve
from aggregate.report.figures.scores.decision import net_benefit
from aggregate.report.figures.scores.numbers import scatter
from aggregate.report.figures.scores.roc import finish_roc
from aggregate.report.figures.scores.survival import grouped, kaplan_meier_figure
from aggregate.report.text.words import named

EXTERNAL = "external"
"""The kind of all of these."""


def evaluation_figures(curves: Curves) -> dict[str, Drawing]:
    """Figures by the name of the table that each is drawn from."""
    return {name: evaluation_figure(name, table) for name, table in curves.tables().items()}


def evaluation_figure(name: str, table: pd.DataFrame) -> Drawing:
    """One of them."""
    draw: dict[str, Callable[[pd.DataFrame], Drawing]] = {
        "roc": external_roc,
        "calibration": lambda table: calibration_curve(table, "external-calibration"),
        "decision_curve": lambda table: net_benefit(table, "external-decision"),
        "risk_groups": external_risk_groups,
        "predicted": external_scatter,
    }
    drawing = draw[name](table)
    drawing.kind, drawing.name, drawing.table, drawing.facts = EXTERNAL, name, table, {"curve": name}
    return drawing


def external_scatter(table: pd.DataFrame) -> Drawing:
    """Prediction over truth of the model in question."""
    first = table[table["configuration"] == table["configuration"].iloc[0]]
    return scatter(first, "value", "external-predicted")


def external_roc(table: pd.DataFrame) -> Drawing:
    """One curve per configuration, or per class and configuration."""
    groups = [(key, rows) for key, rows in table.groupby(["configuration", "class"], sort=False)]
    several = table["class"].nunique() > 1
    with matplotlib.rc_context(STYLE):
        figure, ax = axes(4.4, 4.6 + 0.22 * len(groups))
        ax.plot([0, 1], [0, 1], color="#d1d5db", lw=1)
        for index, ((name, of), rows) in enumerate(groups):
            told = f"{named(str(name))}: {of} against the rest" if several else named(str(name))
            drawn_line(ax, index, rows["false_positive_rate"], rows["true_positive_rate"], told)
        finish_roc(ax)
    return svg(figure, "external-roc", "ROC curves on participants outside training", table)


def external_risk_groups(table: pd.DataFrame) -> Drawing:
    """Kaplan-Meier curves of the head's frozen risk groups."""
    head = table[table["configuration"] == table["configuration"].iloc[0]]
    return kaplan_meier_figure(grouped(head), "time")
