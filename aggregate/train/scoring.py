"""What a finished run says of its test bags, with a calibration from inside its training part."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from aggregate.bags.bags import Bags
from aggregate.cohort.cohort import Cohort
from aggregate.cohort.people import Fold
from aggregate.heads.base import Head
from aggregate.statistics.calibration import Calibration, calibrate
from aggregate.statistics.evaluate import OutOfFold, scores_of
from aggregate.training.stacked import TrainedRun, apply_to_views


@dataclass(frozen=True, slots=True)
class Scored:
    """One run's predictions."""

    output: OutOfFold
    attention: NDArray[np.float64]
    """(bag, slice) over `fold.test`; slices that none of these bags has are not in it."""


def score_run(head: Head, run: TrainedRun, cohort: Cohort, bags: Bags, fold: Fold) -> Scored:
    """Score the fold's test bags; threshold and temperature come from inside its training part.

    Args:
        head: The run's head, built for these tokens.
        run: With its weights.
        cohort: Gives labels and participants.
        bags: All bags of the cohort.
        fold: What the run was trained on, and left out.
    """
    outputs, attention = _apply(head, run, bags, fold.test)
    logits = cohort.kind.said(outputs)
    calibration = _calibration(head, run, cohort, bags)
    spec = run.spec
    return Scored(OutOfFold(spec.configuration, fold, spec.seed, logits, calibration), attention)


def _apply(
    head: Head, run: TrainedRun, bags: Bags, rows: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Logits (bag, class) and attention (bag, slice) of one run on some bags."""
    output = apply_to_views(head, [run.state], bags.take(torch.from_numpy(rows)))
    return output.logits[0].double().numpy(), output.attention[0].double().numpy()


def _calibration(head: Head, run: TrainedRun, cohort: Cohort, bags: Bags) -> Calibration:
    """Threshold and temperature from inner folds, or from the validation part, if there is either."""
    spec = run.spec
    if not cohort.kind.calibrates:
        return calibrate(None)
    if spec.within and spec.inside is not None:
        return calibrate(scores_of(cohort, spec.train_rows, spec.inside.logits))
    if not len(spec.validation_rows):
        return calibrate(None)
    logits, _ = _apply(head, run, bags, spec.validation_rows)
    return calibrate(scores_of(cohort, spec.validation_rows, logits))
