"""What chance gives to some of the configurations: the same trainings on permuted labels.

Only the reference and the configurations of `primary` comparisons are trained on permuted labels: each
permutation costs as many runs as the configuration itself, and the others are exploratory anyway.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from aggregate.ablate.grid.expand import Configuration, Study
from aggregate.ablate.grid.sources import Source, with_labels
from aggregate.ablate.runs.jobs import Job, jobs_of
from aggregate.cohort.cohort import permute_labels
from aggregate.cohort.folds import make_folds
from aggregate.cohort.people import FoldSpec
from aggregate.cohort.task import Metric
from aggregate.statistics.evaluate import OutOfFold, measure_folds
from aggregate.statistics.permutation import permutation_p

STREAM = 1_000_003
"""Sets the permutations of different fold seeds apart, as `train --shuffle-labels` does."""


def tested_by_chance(study: Study) -> list[Configuration]:
    """The reference and both sides of every primary comparison, as far as they are configurations."""
    names = [study.reference, *(side for pair in study.spec.primary for side in pair)]
    return [c for c in study.configurations if c.name in names]


def permuted_jobs(
    source: Source,
    configurations: Sequence[Configuration],
    folds: FoldSpec,
    leave_group_out: str | None,
    index: int,
) -> tuple[Source, list[Job]]:
    """Permutation number `index`, with folds stratified anew, and its runs.

    Args:
        source: Of the configurations' tokens.
        configurations: Those that take their tokens from it.
        folds: The fold spec of the study.
        leave_group_out: As in `make_folds`.
        index: Of the permutation; equal numbers permute alike in every source.
    """
    cohort = permute_labels(source.cohort, folds.seed * STREAM + index)
    dealt = make_folds(cohort, folds, leave_group_out)
    jobs = [job for c in configurations for job in jobs_of(c, dealt, c.setup.seeds, calibrated=False)]
    return with_labels(source, cohort), jobs


def mean_judged(source: Source, outputs: Sequence[OutOfFold]) -> float:
    """The reported statistic: the mean of the primary metric within folds."""
    return float(np.nanmean(measure_folds(source.cohort, outputs).judged))


def null_json(observed: float, values: Sequence[float], primary: Metric) -> dict[str, Any]:
    """As in `metrics.json`: mean, sd, p = (1 + # at least as good) / (1 + N), n."""
    return {
        "mean": float(np.mean(values)),
        "sd": float(np.std(values, ddof=1)) if len(values) > 1 else 0.0,
        "p": permutation_p(primary.gain(observed), [primary.gain(value) for value in values]),
        "n": len(values),
    }
