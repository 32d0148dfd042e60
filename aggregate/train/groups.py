"""With `leave_group_out`: each group as the cohort outside training that it is for the model without it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from aggregate.cohort.cohort import Cohort
from aggregate.evaluate.measure import Judged
from aggregate.evaluate.outside import compare_outside, fixed_metrics
from aggregate.statistics.evaluate import OutOfFold, n_participants, people_json, scores_of


def groups_json(cohort: Cohort, outputs: Mapping[str, Sequence[OutOfFold]]) -> dict[str, Any]:
    """By group: participants, metrics of the head and of mean pooling, and their comparison.

    Args:
        cohort: All groups.
        outputs: By configuration, the head first; folds that leave a group out have its name.

    Returns:
        Empty where folds leave no group out.
    """
    head = next(iter(outputs))
    names = dict.fromkeys(output.fold.name for output in outputs[head] if output.fold.name)
    return {name: _group(cohort, name, head, outputs) for name in names}


def _group(
    cohort: Cohort, name: str, head: str, outputs: Mapping[str, Sequence[OutOfFold]]
) -> dict[str, Any]:
    """One group."""
    ours, kind = judged_group(cohort, outputs[head], name), cohort.kind
    rows = next(output.fold.test for output in outputs[head] if output.fold.name == name)
    found: dict[str, Any] = {
        "n_participants": n_participants(cohort, rows),
        **people_json(cohort, rows),
        "metrics": {metric: value.as_json() for metric, value in fixed_metrics(kind, ours).items()},
    }
    if kind.bar in outputs:
        other = judged_group(cohort, outputs[kind.bar], name)
        found["baselines"] = {
            kind.bar: {m: value.as_json() for m, value in fixed_metrics(kind, other).items()}
        }
        found["comparison"] = {kind.bar: compare_outside(kind, ours, other, (head, kind.bar))}
    return found


def judged_group(cohort: Cohort, outputs: Sequence[OutOfFold], name: str) -> Judged:
    """What the models without a group say of it: the mean over repeats and seeds, calibrated each."""
    own = [output for output in outputs if output.fold.name == name]
    logits = np.mean([output.logits / output.calibration.temperature for output in own], axis=0)
    threshold = float(np.mean([output.calibration.threshold for output in own]))
    return Judged(scores_of(cohort, own[0].fold.test, logits), threshold)
