"""Cross-validation on tokens that every fold harmonises by its own training part."""

from collections.abc import Sequence

import numpy as np

from aggregate.bags.bags import Bags
from aggregate.baselines.baselines import Baseline, mean_pool_linear
from aggregate.cohort.cohort import Cohort
from aggregate.cohort.people import Fold
from aggregate.config.setup import TrainingSetup
from aggregate.harmonise.harmoniser import Harmoniser
from aggregate.train.crossval import Trained, cross_validate
from cache_schema.common.terminal.progress import Progress


def cross_validate_on(
    setup: TrainingSetup,
    cohort: Cohort,
    bags: Bags,
    folds: Sequence[Fold],
    harmoniser: Harmoniser | None,
    progress: Progress | None = None,
    calibrated: bool = True,
) -> Trained:
    """Train on every fold; one after the other where each has tokens of its own."""
    if harmoniser is None:
        return cross_validate(setup, cohort, bags, folds, progress, calibrated)
    parts = []
    for place, fold in enumerate(folds):
        told = None if progress is None else _share(progress, place, len(folds))
        parts.append(cross_validate(setup, cohort, harmoniser.bags(bags, fold), [fold], told, calibrated))
    tested = np.array([np.isfinite(part.attention) for part in parts])
    total = np.nansum([part.attention for part in parts], axis=0)
    count = tested.sum(axis=0)
    attention = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    outputs = tuple(output for part in parts for output in part.outputs)
    return Trained(outputs, tuple(run for part in parts for run in part.runs), attention)


def harmonised_baselines(
    baselines: Sequence[Baseline],
    cohort: Cohort,
    bags: Bags,
    folds: Sequence[Fold],
    harmoniser: Harmoniser | None,
) -> list[Baseline]:
    """The baselines, mean pooling on the tokens that the head gets."""
    if harmoniser is None:
        return list(baselines)
    return [
        harmonised_mean_pool(cohort, bags, folds, harmoniser) if one.name == cohort.kind.bar else one
        for one in baselines
    ]


def harmonised_mean_pool(
    cohort: Cohort, bags: Bags, folds: Sequence[Fold], harmoniser: Harmoniser
) -> Baseline:
    """The target's linear model on mean pooling of every fold's own tokens."""
    parts = [mean_pool_linear(cohort, bags, [f], harmoniser.vectors(f.inside)) for f in folds]
    logits = tuple(logits for part in parts for logits in part.logits)
    solutions = tuple(one for part in parts for one in part.solutions)
    return Baseline(cohort.kind.bar, logits, notes=("on harmonised tokens",), solutions=solutions)


def _share(progress: Progress, before: int, folds: int) -> Progress:
    """The epochs of one fold among those of all."""
    return lambda done, total: progress(before * total + done, folds * total)
