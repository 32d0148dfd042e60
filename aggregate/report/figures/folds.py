"""One curve per test fold, and the band that the statistics of the run give their mean."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from aggregate.common.arrays import Floats
from aggregate.statistics.bands import Band, Curve, fold_band, people_band

KEYS = ["repeat", "fold", "seed", "participant_id"]


@dataclass(frozen=True, slots=True)
class FoldCurves:
    """Curves within folds, seeds averaged."""

    curves: Floats
    """(fold, point)"""
    repeat: tuple[str, ...]
    """Of every fold."""
    n_train: Floats
    """Participants of its training part (fold,)."""
    n_test: Floats
    truth: Floats
    """Of the last fold (participant,): with one fold, of everybody."""
    score: Floats
    """Likewise."""

    def by_repeat(self) -> Floats:
        """Mean over the folds of each repeat (repeat, point)."""
        places = np.array(self.repeat)
        return np.stack([self.curves[places == name].mean(axis=0) for name in dict.fromkeys(self.repeat)])

    def band(self, curve: Curve) -> Band | None:
        """Of the mean over folds, or of one fold over its participants; None where there are no limits."""
        if len(self.curves) > 1:
            found = fold_band(self.curves, self.n_train, self.n_test)
        else:
            found = people_band(self.truth, self.score, curve)
        return found if np.isfinite(found.low).any() else None


def fold_curves(cases: pd.DataFrame, curve: Curve) -> FoldCurves | None:
    """The curves of folds whose test part holds both sides.

    Args:
        cases: repeat, fold, seed, participant_id, truth (1 for positive), score: a row per person and run.
        curve: What is drawn.

    Returns:
        None if there is no such fold.
    """
    people = {str(name): own["participant_id"].nunique() for name, own in cases.groupby("repeat")}
    curves, repeats, sizes, last = [], [], [], None
    for (repeat, _), fold in cases.groupby(["repeat", "fold"], sort=True):
        seeds = []
        for _, run in fold.groupby("seed", sort=True):
            truth, score = (run[name].to_numpy(dtype=np.float64) for name in ("truth", "score"))
            if 0 < truth.sum() < len(truth):
                seeds.append(curve(truth, score))
                last = truth, score
        if seeds:
            n_test = fold["participant_id"].nunique()
            curves.append(np.mean(seeds, axis=0))
            repeats.append(str(repeat))
            sizes.append((people[str(repeat)] - n_test, n_test))
    if last is None:
        return None
    n_train, n_test = np.array(sizes, dtype=np.float64).T
    return FoldCurves(np.stack(curves), tuple(repeats), n_train, n_test, *last)
