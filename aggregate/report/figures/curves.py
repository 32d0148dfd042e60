"""The numbers behind the figures: ROC curves within folds, attention over height within participants."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import roc_curve

from aggregate.common.arrays import Floats
from aggregate.report.figures.folds import KEYS, fold_curves
from aggregate.statistics.bands import Band

GRID: Floats = np.linspace(0, 1, 201)
"""False positive rates at which curves are averaged."""

TIE = 1e-9
"""Steps of a curve at one false positive rate are set apart by this much, so that it has one value."""

BANDS = 36
"""Height bins at most."""

SHARE = 0.25
"""A height bin needs slices from this share of a class's participants."""


@dataclass(frozen=True, slots=True)
class Roc:
    """True positive rates over `GRID`."""

    repeats: Floats
    """(repeat, grid): within a repeat, the mean of its folds' curves."""
    mean: Floats
    """(grid,): over repeats. The area under it is the mean AUROC within folds."""
    band: Band | None = None
    """Pointwise interval of the mean."""


@dataclass(frozen=True, slots=True)
class Profile:
    """Attention over height in the participants of one class."""

    height_mm: Floats
    """(bin,): middle of the bin, below the vertex."""
    mean: Floats
    """(bin,): over participants."""
    low: Floats
    """(bin,): 10th percentile of participants."""
    high: Floats
    """(bin,): 90th percentile."""


def roc_of(
    predictions: pd.DataFrame, positive: str, others: tuple[str, ...], banded: bool = False
) -> Roc | None:
    """ROC curve of one configuration, participants being the cases and folds kept apart.

    Args:
        predictions: Rows of one configuration, as in `predictions.csv`.
        positive: The class in question.
        others: The classes against it.
        banded: Whether its interval is wanted.

    Returns:
        None if no fold holds both sides.
    """
    score = predictions[f"logit_{positive}"] - predictions[[f"logit_{name}" for name in others]].max(axis=1)
    frame = predictions[KEYS].assign(score=score, truth=predictions["y"].astype(str) == positive)
    cases = frame.groupby(KEYS, sort=True).mean().reset_index()
    found = fold_curves(cases, on_grid)
    if found is None:
        return None
    repeats = found.by_repeat()
    return Roc(repeats, repeats.mean(axis=0), found.band(on_grid) if banded else None)


def on_grid(truth: Floats | NDArray[np.bool_], score: Floats) -> Floats:
    """One fold's true positive rates over `GRID`."""
    false, true, _ = roc_curve(np.asarray(truth, dtype=np.float64) > 0.5, score, drop_intermediate=False)
    values: Floats = np.interp(GRID, np.asarray(false) + TIE * np.arange(len(false)), true)
    values[-1] = 1.0
    return values


def profiles(attention: pd.DataFrame) -> dict[str, Profile]:
    """Attention by class over bins of height; a participant counts once per bin.

    Args:
        attention: Columns height_mm, attention, label, participant_id.
    """
    if attention.empty:
        return {}
    top, bottom = attention["height_mm"].min(), attention["height_mm"].max()
    width = max(4.0, float(bottom - top) / BANDS)
    place = np.floor((attention["height_mm"] - top) / width).astype(int)
    each = attention.assign(bin=place).groupby(["label", "bin", "participant_id"])["attention"].mean()
    found = {}
    for label, rows in each.groupby(level="label"):
        people = rows.index.get_level_values("participant_id").nunique()
        bins = rows.groupby(level="bin")
        kept = bins.count() >= SHARE * people
        mean, low, high = (part[kept] for part in (bins.mean(), bins.quantile(0.1), bins.quantile(0.9)))
        middle = float(top) + (mean.index.to_numpy(dtype=float) + 0.5) * width
        found[str(label)] = Profile(middle, *(part.to_numpy(dtype=float) for part in (mean, low, high)))
    return found
