"""What chance gives: the same folds and trainings on labels permuted between participants."""

from typing import Any

import numpy as np

from aggregate.bags.bags import Bags
from aggregate.cohort.cohort import Cohort, permute_labels
from aggregate.cohort.folds import make_folds
from aggregate.cohort.people import FoldSpec
from aggregate.config.setup import TrainingSetup
from aggregate.harmonise.harmoniser import Harmoniser
from aggregate.statistics.evaluate import measure_folds
from aggregate.statistics.permutation import permutation_p
from aggregate.train.harmonised import cross_validate_on
from cache_schema.common.terminal.progress import Progress


def shuffled_null(
    setup: TrainingSetup,
    spec: FoldSpec,
    leave_group_out: str | None,
    cohort: Cohort,
    bags: Bags,
    observed: float,
    n: int,
    progress: Progress | None = None,
    harmoniser: Harmoniser | None = None,
) -> dict[str, Any]:
    """Train on `n` permutations of the labels, with folds stratified anew for each.

    The statistic is the reported one: the mean of the primary metric over the same folds and repeats.

    Returns:
        `{"auroc": {"mean", "sd", "p", "n"}}`, with `p = (1 + #>=) / (1 + n)`; or of another primary metric,
        with `#<=` where a lower one is better.
    """
    values, primary = [], cohort.kind.primary
    for index in range(n):
        permuted = permute_labels(cohort, spec.seed * 1_000_003 + index)
        folds = make_folds(permuted, spec, leave_group_out)
        trained = cross_validate_on(setup, permuted, bags, folds, harmoniser, calibrated=False)
        values.append(float(np.nanmean(measure_folds(permuted, trained.outputs).judged)))
        if progress is not None:
            progress(index + 1, n)
    spread = float(np.std(values, ddof=1)) if n > 1 else 0.0
    return {
        primary.name: {
            "mean": float(np.mean(values)),
            "sd": spread,
            "p": permutation_p(primary.gain(observed), [primary.gain(value) for value in values]),
            "n": n,
        }
    }
