"""What runs learnt to turn logits into probabilities and calls, in numbers."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from aggregate.statistics.calibration import Calibration
from aggregate.statistics.evaluate import OutOfFold
from aggregate.training.runs import RunSpec, TrainedRun

INNER, HELD_OUT, NOTHING = "inner folds", "validation part", "nothing"
"""What threshold and temperature of a run were learnt on."""


def calibration_facts(runs: Sequence[TrainedRun], outputs: Sequence[OutOfFold]) -> dict[str, Any]:
    """What `metrics.json` says under `calibration`.

    Args:
        runs: Trained.
        outputs: Of the same runs, in their order, each with its calibration.

    Returns:
        `learnt_on`: how many runs learnt both on `inner folds`, on a `validation part` or on `nothing` (then
        they are 0.5 and 1); `temperature` and `threshold`: median, lowest and highest over all runs.
    """
    learnt = Counter(learnt_on(run.spec, one.calibration) for run, one in zip(runs, outputs, strict=True))
    return {
        "learnt_on": {place: learnt[place] for place in (INNER, HELD_OUT, NOTHING) if learnt[place]},
        "temperature": _spread([one.calibration.temperature for one in outputs]),
        "threshold": _spread([one.calibration.threshold for one in outputs]),
    }


def learnt_on(run: RunSpec, found: Calibration) -> str:
    """Where a run's calibration comes from; one that is as nobody had looked, from nothing."""
    if found == Calibration():
        return NOTHING
    return INNER if run.within and run.inside is not None else HELD_OUT


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {"median": float(np.median(values)), "low": min(values), "high": max(values)}
