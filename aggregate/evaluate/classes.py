"""What a fixed model says of its classes on participants outside its training, with intervals."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from aggregate.common.arrays import Floats, Ints
from aggregate.evaluate.measure import Judged, delong_or_none, wilson
from aggregate.statistics.classes.confusion import called_classes, confusion_counts, confusion_json
from aggregate.statistics.classes.measures import class_measures, classes_json, two_only
from aggregate.statistics.classes.reliability import classwise_error, logit_of
from aggregate.statistics.corrected import Interval
from aggregate.statistics.recalibration import recalibrate


def classes_outside(
    judged: Judged, classes: Sequence[str], counts: Mapping[str, int], ordered: bool
) -> dict[str, Any]:
    """`confusion`, and of more than two classes `per_class` (with its calibration) and `pairwise`.

    Args:
        judged: The model in question.
        classes: Labels, in the order of the logits.
        counts: Participants by label.
        ordered: Of ordered classes there is `confusion` alone.
    """
    scores, n = judged.scores, len(classes)
    called = called_classes(scores, judged.threshold)
    found = {"confusion": confusion_json(confusion_counts(scores.y, called, n))}
    if n == 2 or ordered:
        return found
    several = {name: Interval(value, np.nan, np.nan) for name, value in class_measures(scores).items()}
    for c in range(n):
        several |= {f"{c}/{name}": value for name, value in _class(judged, c, called).items()}
        for b in range(c + 1, n):
            rows, ratios = two_only(scores, c, b)
            several[f"{c}/{b}/auroc"] = delong_or_none((scores.y[rows] == b).astype(np.int64), ratios)
    table = classes_json(classes, counts, lambda name: several[name].as_json())
    calibrated = calibration_by_class(judged)
    for name, row in zip(classes, calibrated, strict=True):
        table["per_class"][name] |= {metric: value.as_json() for metric, value in row.items()}
    return {**table, **found}


def _class(judged: Judged, c: int, called: Ints) -> dict[str, Interval]:
    """One class against the rest: DeLong and Wilson."""
    truth, so = judged.scores.y == c, called == c
    return {
        "auroc": delong_or_none(truth.astype(np.int64), judged.scores.probability()[:, c]),
        "sensitivity": wilson(int((truth & so).sum()), int(truth.sum())),
        "specificity": wilson(int((~truth & ~so).sum()), int((~truth).sum())),
        "ppv": wilson(int((truth & so).sum()), int(so.sum())),
    }


def calibration_by_class(judged: Judged) -> list[dict[str, Interval]]:
    """Slope, intercept and expected calibration error of every class against the rest."""
    scores = judged.scores
    errors: Floats = classwise_error(scores.y, scores.probability())
    rows = []
    for c, error in enumerate(errors.tolist()):
        found = recalibrate((scores.y == c).astype(np.int64), logit_of(scores, c))
        rows.append(
            {
                "calibration_slope": found.slope,
                "calibration_intercept": found.intercept,
                "ece": Interval(error, np.nan, np.nan),
            }
        )
    return rows
