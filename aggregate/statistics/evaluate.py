"""From out-of-fold logits to the honest table: per fold and repeat first, then intervals and comparisons."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aggregate.cohort.cohort import Cohort
from aggregate.cohort.people import Fold
from aggregate.cohort.task import Metric
from aggregate.common.arrays import Floats
from aggregate.statistics.bootstrap import BOOTSTRAP, OfDraws, bootstrap_intervals, one_by_one
from aggregate.statistics.calibration import Calibration
from aggregate.statistics.corrected import (
    CORRECTED,
    SHARED_PAIRS,
    Interval,
    corrected_interval,
    corrected_t_test,
    mean_over_seeds,
)
from aggregate.statistics.guessing import TOLD, no_surer
from aggregate.statistics.metrics import GUESSING, Scores, by_participant, means_by_participant
from cache_schema.common.errors import SlicecacheError

UNCALIBRATED = Calibration()
ROUNDING = 1e-5
"""Of an error in a target's own unit: heads are trained in float32."""
AUROC = Metric("auroc", "AUROC", guessing=GUESSING)
"""What classes are judged by."""
FIELDS = dict(zip(TOLD, ("difference", "low", "high", "p"), strict=True))
"""Names in JSON -> those of a test."""
Measure = Callable[[Scores, float, float], Mapping[str, float]]
"""From scores, threshold and temperature to values by name."""


@dataclass(frozen=True, slots=True)
class OutOfFold:
    """What one configuration, trained on one fold with one seed, says of that fold's test bags."""

    configuration: str
    fold: Fold
    seed: int
    logits: Floats
    """Said, in the order of `fold.test`: (bag, class), or of a target without classes (bag, column)."""
    calibration: Calibration = UNCALIBRATED

    def scores(self, cohort: Cohort) -> Scores:
        """Test scores by participant."""
        return scores_of(cohort, self.fold.test, self.logits)


def scores_of(cohort: Cohort, rows: NDArray[np.int64], logits: Floats) -> Scores:
    """Average what is said of some bags by participant."""
    people, y = list(cohort.frame["participant_id"].iloc[rows]), cohort.outcomes[rows]
    return (
        by_participant(people, y, logits) if cohort.kind.classes else means_by_participant(people, y, logits)
    )


def mean_scores(cohort: Cohort, outputs: Sequence[OutOfFold]) -> Scores:
    """What one configuration says of every participant that it tested, mean over repeats and seeds."""
    total, count = np.zeros((len(cohort.frame), outputs[0].logits.shape[1])), np.zeros(len(cohort.frame))
    for output in outputs:
        total[output.fold.test] += output.logits
        count[output.fold.test] += 1
    rows = np.flatnonzero(count)
    return scores_of(cohort, rows, total[rows] / count[rows, None])


def n_participants(cohort: Cohort, rows: NDArray[np.int64]) -> int:
    """Participants behind some bags."""
    return int(cohort.frame["participant_id"].iloc[rows].nunique())


def people_json(cohort: Cohort, rows: NDArray[np.int64] | None = None) -> dict[str, Any]:
    """Of some bags, by default of all: participants by label, or of a number its distribution."""
    rows = np.arange(len(cohort.frame)) if rows is None else rows
    if not cohort.kind.classes:
        return {"outcome": cohort.kind.spread(cohort.values[rows])}
    y = cohort.y[rows]
    return {"n_per_class": {n: n_participants(cohort, rows[y == c]) for c, n in enumerate(cohort.classes)}}


@dataclass(frozen=True, slots=True)
class Measured:
    """One configuration's metrics: a row per fold of a repeat, seeds averaged."""

    configuration: str
    values: dict[str, Floats]
    """By metric (fold,), in the order of the folds."""
    n_train: Floats
    n_test: Floats
    primary: Metric = AUROC
    """What configurations are compared by."""
    bounds: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Where each metric lives."""

    @property
    def judged(self) -> Floats:
        """The primary metric (fold,)."""
        return self.values[self.primary.name]


def measure_folds(cohort: Cohort, outputs: Sequence[OutOfFold], by: Measure | None = None) -> Measured:
    """Measure every fold's test part; each metric is taken within a fold, never over pooled folds.

    Fold-wise offsets of the logits bias a pooled AUROC; `auroc_pooled` is reported beside it only. `by` is
    what measures; by default all metrics of the target's kind.
    """
    folds = {(o.fold.repeat, o.fold.fold): o.fold for o in outputs}
    per_run = [
        (
            (o.fold.repeat, o.fold.fold),
            _measured(cohort, o, by, o.scores(cohort)),
        )
        for o in outputs
    ]
    names = per_run[0][1].keys()
    values = {name: mean_over_seeds([(key, found[name]) for key, found in per_run]) for name in names}
    outside = [fold.inside for fold in folds.values()]
    return Measured(
        outputs[0].configuration,
        values,
        np.array([n_participants(cohort, rows) for rows in outside], dtype=np.float64),
        np.array([n_participants(cohort, fold.test) for fold in folds.values()], dtype=np.float64),
        cohort.kind.primary,
        cohort.kind.table_bounds,
    )


def _measured(cohort: Cohort, output: OutOfFold, by: Measure | None, scores: Scores) -> Mapping[str, float]:
    """Metrics of scores as an output is calibrated: the task's, unless others are asked."""
    own = output.calibration
    if by is not None:
        return by(scores, own.threshold, own.temperature)
    return cohort.kind.measure(scores.y, scores.logits, own.threshold, own.temperature)


def intervals(
    cohort: Cohort, outputs: Sequence[OutOfFold], measured: Measured, by: Measure | None = None
) -> dict[str, Interval]:
    """Every metric with its 95 % interval; `by` is what was measured by.

    One given split has no folds to vary over: its model is fixed and its test participants are outside
    all training, so participants are resampled instead.
    """
    if len(measured.n_test) > 1:
        return {
            name: corrected_interval(
                values,
                measured.n_train,
                measured.n_test,
                bounds=measured.bounds.get(name, (0.0, 1.0)),
                overlap=SHARED_PAIRS,
            )
            for name, values in measured.values.items()
        }
    first = outputs[0]
    scores, own = first.scores(cohort), first.calibration
    if by is None:
        metrics: OfDraws = partial(
            cohort.kind.measure_draws, threshold=own.threshold, temperature=own.temperature
        )
    else:
        metrics = one_by_one(partial(_measured, cohort, first, by))
    return bootstrap_intervals(scores, metrics, cohort.kind.groups(scores.y))


def ci_method(measured: Measured) -> str:
    """How the intervals were made, in words."""
    return CORRECTED if len(measured.n_test) > 1 else BOOTSTRAP


def pooled_auroc(cohort: Cohort, outputs: Sequence[OutOfFold]) -> float:
    """AUROC over all out-of-fold probabilities of a repeat and seed together, mean over those; biased."""
    groups: dict[tuple[int, int], list[OutOfFold]] = {}
    for output in outputs:
        groups.setdefault((output.fold.repeat, output.seed), []).append(output)
    found = []
    for group in groups.values():
        scores = [output.scores(cohort) for output in group]
        tempered = [s.logits / o.calibration.temperature for s, o in zip(scores, group, strict=True)]
        y = np.concatenate([s.y for s in scores])
        found.append(cohort.kind.measure(y, np.concatenate(tempered))["auroc"])
    return float(np.mean(found))


def compare(ours: Measured, other: Measured) -> dict[str, Any] | None:
    """Corrected paired comparison by the primary metric over the same folds; None when there are too few.

    No difference of AUROC rests on a value below guessing: a side whose mean AUROC is below 0.5 counts as 0.5
    in every fold. Cross-validation puts what reads matched traits below 0.5, and whatever stands beside it
    would look better for that (`docs/statistics.md`). Since 0.5 does not vary, p is the larger one of this
    comparison and the one as measured, and the interval is as wide as that p has it.

    Returns:
        difference, ci_low, ci_high, p (None where not defined) and as_guessing: who counts as 0.5.
    """
    sizes, low = (ours.n_train, ours.n_test), [m.configuration for m in (ours, other) if below_guessing(m)]
    measured = _differences(ours, other)
    counted = measured
    if low:
        counted = _at_least_guessing(ours) - _at_least_guessing(other)
    try:
        tests = [corrected_t_test(values, *sizes, overlap=SHARED_PAIRS) for values in (measured, counted)]
    except SlicecacheError:
        return None
    found = [{name: getattr(test, field) for name, field in FIELDS.items()} for test in tests]
    return {**no_surer(found[0], found[1], len(low), ours.primary.difference_bounds), "as_guessing": low}


def _differences(ours: Measured, other: Measured) -> Floats:
    """Of the primary metric (fold,); of a metric without a largest value, without what is rounding."""
    found = ours.judged - other.judged
    if np.isfinite(ours.primary.high):
        return found
    return np.where(np.abs(found) < ROUNDING * np.abs(other.judged), 0.0, found)


def below_guessing(measured: Measured) -> bool:
    """Whether the mean over folds is below guessing, where a metric has a value for that (AUROC 0.5)."""
    values, guessing = measured.judged, measured.primary.guessing
    return bool(guessing is not None and np.isfinite(values).any() and np.nanmean(values) < guessing)


def _at_least_guessing(measured: Measured) -> Floats:
    """The metric (fold,) as it is, or guessing in every fold that defines it when the mean is below that."""
    values, guessing = measured.judged, measured.primary.guessing
    if guessing is None or not below_guessing(measured):
        return values
    return np.where(np.isnan(values), np.nan, guessing)
