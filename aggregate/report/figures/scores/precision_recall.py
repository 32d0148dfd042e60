"""Precision over recall within folds, averaged, with its pointwise interval."""

from collections.abc import Mapping
from dataclasses import dataclass

import matplotlib
import numpy as np
import pandas as pd

from aggregate.common.arrays import Floats
from aggregate.report.figures.curves import GRID
from aggregate.report.figures.drawing import COLOURS, DASHES, NAME, STYLE, Drawing, axes, svg
from aggregate.report.figures.folds import KEYS, fold_curves
from aggregate.statistics.bands import Band
from cache_schema.common.terminal.visible import label

ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Precision:
    """Precision over the recalls of `GRID`."""

    mean: Floats
    """Over folds. The area under its steps is the mean average precision within folds."""
    band: Band | None = None


def precision_on_grid(truth: Floats, score: Floats) -> Floats:
    """Precision where a recall is first reached, as average precision takes it (recall,).

    Args:
        truth: 1 for positive, 0 for negative (participant,); a positive is among them.
        score: (participant,).
    """
    levels, place = np.unique(-np.asarray(score, dtype=np.float64), return_inverse=True)
    hits = np.cumsum(np.bincount(place, weights=truth, minlength=len(levels)))
    called = np.cumsum(np.bincount(place, minlength=len(levels)))
    reached = np.searchsorted(hits / hits[-1], np.maximum(GRID, 2 * ROUNDING) - ROUNDING, side="left")
    return np.asarray((hits / called)[reached], dtype=np.float64)


def precision_of(said: pd.DataFrame, positive: str, banded: bool = False) -> Precision | None:
    """The mean curve of the folds that hold both sides.

    Args:
        said: As `said_of` gives it.
        positive: The class in question, against all others.
        banded: Whether its interval is wanted.

    Returns:
        None if no fold holds both sides.
    """
    cases = said[KEYS].assign(truth=said["label"] == positive, score=said[f"p_{positive}"])
    found = fold_curves(cases, precision_on_grid)
    if found is None:
        return None
    return Precision(found.curves.mean(axis=0), found.band(precision_on_grid) if banded else None)


def precision_recall(
    curves: Mapping[str, Precision], share: float, salt: str = "precision-recall"
) -> Drawing:
    """The first curve with its band, the others dashed, and what calling everybody has.

    Args:
        curves: By name.
        share: Of positives; NaN where every curve has its own.
        salt: As in `svg`.
    """
    with matplotlib.rc_context(STYLE):
        figure, ax = axes(4.4, 4.6 + 0.22 * (1 + len(curves)))
        if np.isfinite(share):
            ax.axhline(share, color="#9ca3af", lw=1, label="calling everybody positive")
        for index, (name, curve) in enumerate(curves.items()):
            colour, dash = COLOURS[index % 6], "-" if index == 0 else DASHES[(index - 1) % len(DASHES)]
            width = 2.5 if index == 0 else 1.5
            ax.plot(GRID, curve.mean, color=colour, ls=dash, lw=width, label=label(name, NAME))
            if curve.band is not None:
                low, high = curve.band.low, curve.band.high
                ax.fill_between(GRID, low, high, color=colour, alpha=0.18, lw=0)
        ax.set(xlim=(-0.01, 1.01), ylim=(0, 1.02), xlabel="recall (sensitivity)", ylabel="precision (PPV)")
        ax.set_aspect("equal")
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), handlelength=2.6, fontsize=10)
    told = "; ".join(f"{name} {curve.mean[100]:.2f}" for name, curve in curves.items())
    table = precision_table(curves)
    return svg(figure, salt, f"Precision at a recall of one half: {told}", table, share=_or_none(share))


def _or_none(share: float) -> float | None:
    return float(share) if np.isfinite(share) else None


def precision_table(curves: Mapping[str, Precision]) -> pd.DataFrame:
    """A row per curve and recall: name, recall, precision, low, high (empty where there are no limits)."""
    nothing = np.full(len(GRID), np.nan)
    parts = [
        pd.DataFrame(
            {
                "name": name,
                "recall": GRID,
                "precision": curve.mean,
                "low": nothing if curve.band is None else curve.band.low,
                "high": nothing if curve.band is None else curve.band.high,
            }
        )
        for name, curve in curves.items()
    ]
    return pd.concat(parts, ignore_index=True)


def precisions_of(table: pd.DataFrame) -> dict[str, Precision]:
    """The curves of a `precision_table`."""
    found = {}
    for name, rows in table.groupby("name", sort=False):
        limits = [rows[side].to_numpy(dtype=np.float64) for side in ("low", "high")]
        band = None if np.isnan(limits[0]).all() else Band(limits[0], limits[1])
        found[str(name)] = Precision(rows["precision"].to_numpy(dtype=np.float64), band)
    return found
