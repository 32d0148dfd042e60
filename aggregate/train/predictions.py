"""`predictions.csv`: one row per test bag of every run."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from aggregate.cohort.cohort import Cohort
from aggregate.evaluate.evaluate import Evaluation
from aggregate.statistics.evaluate import OutOfFold
from aggregate.targets.pairs import Contrast

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
        volume_id, participant_id, session_id, set, configuration, repeat, fold, seed, y (label name), and
        what the kind of target predicts: logit_*, p_* (tempered softmax) and threshold; or prediction.
    """
    return pd.concat([_rows(cohort, output, name) for output in outputs], ignore_index=True)


def _rows(cohort: Cohort, output: OutOfFold, name: str) -> pd.DataFrame:
    bags = cohort.frame.iloc[output.fold.test]
    columns: dict[str, Any] = {key: bags[key].to_numpy() for key in FIXED[:3]}
    columns |= {"set": name, "configuration": output.configuration, "repeat": output.fold.repeat}
    columns |= {"fold": output.fold.fold, "seed": output.seed}
    columns |= cohort.kind.outcome_columns(cohort.values[output.fold.test])
    own = output.calibration
    return pd.DataFrame({**columns, **cohort.kind.columns(output.logits, own.threshold, own.temperature)})


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
