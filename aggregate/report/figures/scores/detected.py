"""What detectors say of whole volumes: ROC curves, and precision over recall, of all of them at once."""

import matplotlib
import numpy as np
import pandas as pd

from aggregate.common.arrays import Floats
from aggregate.report.figures.curves import GRID, Roc, on_grid
from aggregate.report.figures.drawing import COLOURS, DASHES, NAME, STYLE, Drawing, axes, svg
from aggregate.report.figures.scores.precision_recall import Precision, precision_on_grid, precision_recall
from aggregate.report.figures.scores.roc import finish_roc, roc_table
from cache_schema.common.terminal.visible import label

ROC, PRECISION = "volume-roc", "volume-precision-recall"
Cases = dict[str, tuple[Floats, Floats]]
"""By detector: 1 for a volume with something to find, else 0, and scores, `(volume,)` each."""


def volume_roc(curves: dict[str, Roc]) -> Drawing:
    """One curve per detector and baseline, by its name."""
    with matplotlib.rc_context(STYLE):
        figure, ax = axes(4.4, 4.6 + 0.22 * len(curves))
        ax.plot([0, 1], [0, 1], color="#d1d5db", lw=1)
        for index, (name, curve) in enumerate(curves.items()):
            dash = "-" if index == 0 else DASHES[(index - 1) % len(DASHES)]
            ax.plot(GRID, curve.mean, color=COLOURS[index % 6], ls=dash, lw=2, label=label(name, NAME))
        finish_roc(ax)
    return svg(figure, ROC, f"ROC curves of volume scores of {', '.join(curves)}", roc_table(curves))


def rocs_by_detector(cases: Cases) -> dict[str, Roc]:
    """Curves of volume scores."""
    lines = {name: on_grid(truth, score) for name, (truth, score) in cases.items()}
    return {name: Roc(line[None], line) for name, line in lines.items()}


def volume_precision(cases: Cases) -> Drawing:
    """Precision over recall of volume scores, beside what calling every volume anomalous has."""
    curves = {name: Precision(precision_on_grid(truth, score)) for name, (truth, score) in cases.items()}
    share = float(next(iter(cases.values()))[0].mean())
    return precision_recall(curves, share, PRECISION)


def cases_of(table: pd.DataFrame, positive: str, most: int) -> Cases:
    """Of the first detectors of a table with detector, label and score."""
    groups = list(table.groupby("detector", sort=False))[:most]
    return {
        str(name): (np.asarray(own["label"] == positive, np.float64), np.asarray(own["score"], np.float64))
        for name, own in groups
    }
