"""Calibration: the share observed over the probability given, in bins, with how many are in each."""

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from scipy import stats

from aggregate.common.arrays import Floats
from aggregate.report.figures.drawing import COLOURS, STYLE, Drawing, axes, drawn_line, svg
from aggregate.report.text.words import named
from aggregate.statistics.classes.reliability import FEWEST, reliability_bins

SHOWN = 2
"""Configurations that are drawn: of more nothing is seen."""
APART = 0.06
"""Of the axis: numbers that are nearer stand below one another."""


def calibration_table(configuration: str, truth: Floats, p: Floats, rounds: int) -> pd.DataFrame:
    """Bins of equally many participants; everybody counts once per round, and an interval counts rounds once.

    Args:
        configuration: Whose probabilities.
        truth: 1 for positive, 0 for negative (participant and round,).
        p: Probabilities of the positive class, likewise.
        rounds: How often every participant is in them.

    Returns:
        configuration, n (participants per round), probability (their mean), observed (share of positives),
        low, high.
    """
    place = reliability_bins(p, FEWEST * rounds)
    count = np.bincount(place)
    probability, observed = (np.bincount(place, weights=values) / count for values in (p, truth))
    low, high = share_interval(observed, count / rounds)
    columns = {"n": count / rounds, "probability": probability, "observed": observed}
    return pd.DataFrame({"configuration": configuration, **columns, "low": low, "high": high})


def share_interval(share: Floats, n: Floats, level: float = 0.95) -> tuple[Floats, Floats]:
    """Wilson's interval of a share of n, which need not be whole: a mean over rounds is not."""
    z2 = stats.norm.ppf((1 + level) / 2) ** 2
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = np.sqrt(z2 * (share * (1 - share) / n + z2 / (4 * n**2))) / (1 + z2 / n)
    return np.maximum(middle - half, 0), np.minimum(middle + half, 1)


def calibration_curve(table: pd.DataFrame, salt: str = "calibration") -> Drawing:
    """Observed share against mean probability; of the head and the bar alone, or nothing is seen.

    Args:
        table: As `calibration_table` gives it, configurations one below another.
        salt: As in `svg`.
    """
    shown = table["configuration"].unique()[:SHOWN]
    first = table[table["configuration"] == shown[0]]
    with matplotlib.rc_context(STYLE):
        figure, ax = axes(4.4, 5.2 + 0.22 * len(shown))
        ax.plot([0, 1], [0, 1], color="#d1d5db", lw=1)
        for index, name in enumerate(shown):
            rows = table[table["configuration"] == name]
            drawn_line(ax, index, rows["probability"], rows["observed"], named(str(name)), marker="o")
        ax.vlines(first["probability"], first["low"], first["high"], color=COLOURS[0], lw=1.2)
        lowest = _counts(ax, first["probability"].to_numpy(float), first["n"].to_numpy(float))
        ax.set(xlim=(-0.02, 1.02), ylim=(lowest - 0.04, 1.01))
        ax.set(xlabel="probability given", ylabel="share observed", yticks=np.linspace(0, 1, 6))
        ax.set_aspect("equal")
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), handlelength=2.6, fontsize=10)
    pairs = zip(first["probability"], first["observed"], strict=True)
    told = "; ".join(f"{p:.2f} given, {o:.2f} observed" for p, o in pairs)
    return svg(figure, salt, f"Calibration: {told}", table)


def _counts(ax: Axes, place: Floats, n: Floats) -> float:
    """Participants of every bin below the axes, apart; the height of the lowest row is returned."""
    last: list[float] = []
    ax.axhline(0, color="#e5e7eb", lw=1)
    for x, count in sorted(zip(place.tolist(), n.tolist(), strict=True)):
        row = next((row for row, at in enumerate(last) if x - at > APART), len(last))
        last[row : row + 1] = [x]
        text = f"{count:.1f}".removesuffix(".0")
        ax.text(x, -0.05 - 0.055 * row, text, ha="center", va="center", fontsize=9, color="#374151")
    return -0.05 - 0.055 * (len(last) - 1)
