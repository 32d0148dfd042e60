"""The numbers behind the figures of an external evaluation, as tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.metrics import roc_curve

from aggregate.cohort.task import Task
from aggregate.evaluate.measure import Judged, wilson
from aggregate.statistics.classes.reliability import reliability_bins
from aggregate.statistics.decision import decision_curve


@dataclass(frozen=True, slots=True)
class Curves:
    """By figure; a decision and a calibration are about one of two classes."""

    roc: pd.DataFrame | None
    """configuration, class, false_positive_rate, true_positive_rate; None without classes."""
    calibration: pd.DataFrame | None
    """configuration, n, probability (their mean), observed (share of positives), low, high."""
    decision: pd.DataFrame | None
    """threshold, treat_all, treat_none and a column per configuration: net benefit."""
    predicted: pd.DataFrame | None = None
    """configuration, participant_id, and what is true and predicted: of a target without classes."""
    called: str = "predicted"
    """The name of that table and its figure."""

    def tables(self) -> dict[str, pd.DataFrame]:
        """Those that there are, by the name of their files."""
        named = {"roc": self.roc, "calibration": self.calibration, "decision_curve": self.decision}
        named[self.called] = self.predicted
        return {name: table for name, table in named.items() if table is not None}


def curves_of(judged: Mapping[str, Judged], kind: Task) -> Curves:
    """All curves of some models on the same participants.

    Args:
        judged: By configuration.
        kind: Of target.
    """
    one, classes = next(iter(judged.values())), kind.classes
    if not classes:
        rows = pd.concat([_predicted(name, found, kind) for name, found in judged.items()])
        return Curves(None, None, None, rows, kind.figure)
    places = [1] if one.binary else range(len(classes))
    roc = [_roc(name, found, place, classes) for name, found in judged.items() for place in places]
    if not one.binary:
        return Curves(pd.concat(roc, ignore_index=True), None, None)
    calibration = [_calibration(name, found) for name, found in judged.items()]
    return Curves(
        pd.concat(roc, ignore_index=True), pd.concat(calibration, ignore_index=True), _decision(judged)
    )


def _predicted(name: str, judged: Judged, kind: Task) -> pd.DataFrame:
    """Truth and prediction of every participant."""
    scores = judged.scores
    people = {"configuration": name, "participant_id": list(scores.participant_id)}
    true = np.reshape(np.asarray(scores.y, dtype=np.float64), (len(scores.y), -1))
    return pd.DataFrame({**people, **kind.truth_columns(true), **kind.columns(scores.logits, 0.5, 1.0)})


def _roc(name: str, judged: Judged, place: int, classes: Sequence[str]) -> pd.DataFrame:
    """One class against the rest."""
    x, y, _ = roc_curve(judged.scores.y == place, judged.scores.probability()[:, place])
    return pd.DataFrame(
        {
            "configuration": name,
            "class": classes[place],
            "false_positive_rate": x,
            "true_positive_rate": y,
        }
    )


def _calibration(name: str, judged: Judged) -> pd.DataFrame:
    """The bins of the calibration error."""
    p, y = judged.positive, judged.scores.y
    rows, place = [], reliability_bins(p)
    for bin_ in (np.flatnonzero(place == number) for number in range(int(place.max()) + 1)):
        observed = wilson(int(y[bin_].sum()), len(bin_))
        rows.append(
            {
                "configuration": name,
                "n": len(bin_),
                "probability": float(p[bin_].mean()),
                "observed": observed.value,
                "low": observed.low,
                "high": observed.high,
            }
        )
    return pd.DataFrame(rows)


def _decision(judged: Mapping[str, Judged]) -> pd.DataFrame:
    """Net benefit of every configuration beside treating all and none."""
    curves = {name: decision_curve(found.scores.y, found.positive) for name, found in judged.items()}
    one = next(iter(curves.values()))
    fixed = {
        "threshold": one.threshold,
        "treat_all": one.treat_all,
        "treat_none": np.zeros(len(one.threshold)),
    }
    return pd.DataFrame({**fixed, **{name: curve.model for name, curve in curves.items()}})
