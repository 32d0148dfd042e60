"""`predictions.csv`: one row per test bag of every run."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from aggregate.cohort.cohort import Cohort
from aggregate.cohort.pairs import Contrast
from aggregate.common.softmax import softmax
from aggregate.evaluate.evaluate import Evaluation
from aggregate.statistics.evaluate import OutOfFold

FIXED = (
    "volume_id",
    "participant_id",
    "session_id",
    "set",
    "configuration",
    "repeat",
    "fold",
    "seed",
    "y",
)


def prediction_rows(cohort: Cohort, outputs: Sequence[OutOfFold], name: str) -> pd.DataFrame:
    """One row per test bag of every run.

    Args:
        cohort: Gives keys and labels.
        outputs: Of any configurations.
        name: The `set` column: `out_of_fold`, or `test` for a given split.

    Returns:
        volume_id, participant_id, session_id, set, configuration, repeat, fold, seed, y (label name),
        logit_*, p_* (tempered softmax) and threshold.
    """
    return pd.concat([_rows(cohort, output, name) for output in outputs], ignore_index=True)


def _rows(cohort: Cohort, output: OutOfFold, name: str) -> pd.DataFrame:
    bags = cohort.frame.iloc[output.fold.test]
    tempered = output.logits / output.calibration.temperature
    p = softmax(tempered)
    columns: dict[str, Any] = {key: bags[key].to_numpy() for key in FIXED[:3]}
    columns |= {"set": name, "configuration": output.configuration, "repeat": output.fold.repeat}
    columns |= {"fold": output.fold.fold, "seed": output.seed}
    columns["y"] = [cohort.classes[index] for index in bags["y"]]
    columns |= {f"logit_{label}": output.logits[:, c] for c, label in enumerate(cohort.classes)}
    columns |= {f"p_{label}": p[:, c] for c, label in enumerate(cohort.classes)}
    return pd.DataFrame({**columns, "threshold": output.calibration.threshold})


def predictions(
    cohort: Cohort,
    outputs: Sequence[Sequence[OutOfFold]],
    external: Evaluation | None = None,
    contrast: Contrast | None = None,
) -> pd.DataFrame:
    """The content of `predictions.csv`; an external cohort's rows come last. A contrast's name every row."""
    name = "test" if cohort.sides is not None else "out_of_fold"
    rows = [prediction_rows(cohort, out, name) for out in outputs]
    table = pd.concat([*rows, *([] if external is None else [external.predictions])], ignore_index=True)
    return table if contrast is None else table.assign(contrast=contrast.name)
