"""What a cross-validation says of its classes: the parts of `metrics.json` beside its metrics."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from aggregate.cohort.cohort import Cohort
from aggregate.common.arrays import Floats
from aggregate.statistics.classes.confusion import called_classes, confusion_counts, confusion_json
from aggregate.statistics.classes.measures import class_measures, classes_json
from aggregate.statistics.evaluate import OutOfFold, intervals, measure_folds, n_participants


def classes_out_of_fold(cohort: Cohort, outputs: Sequence[OutOfFold]) -> dict[str, Any]:
    """`confusion`, and of more than two classes `per_class` and `pairwise`, with corrected intervals.

    Of ordered classes `confusion` alone, of a target without classes nothing.

    Args:
        cohort: Gives labels and participants.
        outputs: Of one configuration.
    """
    if not cohort.kind.classes:
        return {}
    confusion = {"confusion": confusion_json(confusion_out_of_fold(cohort, outputs))}
    if len(cohort.classes) == 2 or cohort.kind.key != "classification":
        return confusion
    counts = {
        name: n_participants(cohort, np.flatnonzero(cohort.y == c)) for c, name in enumerate(cohort.classes)
    }
    measured = measure_folds(cohort, outputs, class_measures)
    found = intervals(cohort, outputs, measured, class_measures)
    return {**classes_json(cohort.classes, counts, lambda name: found[name].as_json()), **confusion}


def confusion_out_of_fold(cohort: Cohort, outputs: Sequence[OutOfFold]) -> Floats:
    """Every test participant once per repeat and seed; the mean over these (true class, class called)."""
    n = len(cohort.classes)
    rounds: dict[tuple[int, int], Floats] = {}
    for output in outputs:
        scores, way = output.scores(cohort), output.calibration
        called = called_classes(scores, way.threshold, way.temperature)
        own = rounds.setdefault((output.fold.repeat, output.seed), np.zeros((n, n)))
        own += confusion_counts(scores.y, called, n)
    return np.asarray(np.mean(list(rounds.values()), axis=0))
