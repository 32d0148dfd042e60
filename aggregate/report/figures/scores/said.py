"""Probabilities by participant, from the rows of `predictions.csv`."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from aggregate.common.arrays import Floats
from aggregate.common.softmax import softmax
from aggregate.report.figures.folds import KEYS
from cache_schema.common.text.counts import counted

LEAST = 1e-300
"""Probabilities below it have no logarithm."""


def said_of(predictions: pd.DataFrame, configuration: str, classes: Sequence[str]) -> pd.DataFrame | None:
    """What one configuration says, a row per participant and run that tested them.

    Sessions of a participant are one row, with the mean of their logits.

    Args:
        predictions: As in `predictions.csv`; of an external cohort repeat, fold and seed are empty.
        configuration: Whose rows.
        classes: Labels, of two the positive one last.

    Returns:
        repeat, fold, seed, participant_id, label, threshold (NaN where there is none), called and
        `p_CLASS` of every class; None where the rows hold no probabilities.
    """
    columns = [f"p_{name}" for name in classes]
    if len(classes) < 2 or not {*KEYS, "configuration", "y", *columns} <= set(predictions.columns):
        return None
    own = predictions[predictions["configuration"] == configuration]
    logs = np.log(np.maximum(own[columns].to_numpy(dtype=np.float64), LEAST))
    frame = own[KEYS].copy()
    frame[KEYS[:3]] = frame[KEYS[:3]].astype("Float64").fillna(0).astype(np.int64)
    frame["label"] = own["y"].astype(str)
    frame["threshold"] = own["threshold"].astype(float) if "threshold" in own else np.nan
    frame[columns] = logs
    if frame.empty:
        return None
    rows = frame.groupby(KEYS, sort=True)
    found = rows[["label"]].first().assign(threshold=rows["threshold"].mean())
    p = softmax(rows[columns].mean().to_numpy(dtype=np.float64))
    found = found.assign(called=_called(p, found["threshold"].to_numpy(), classes))
    found[columns] = p
    return found.reset_index()


def _called(p: Floats, threshold: Floats, classes: Sequence[str]) -> list[str]:
    """By the threshold of two classes, the most probable of more, or where there is none."""
    if len(classes) == 2 and not np.isnan(threshold).any():
        return [classes[int(yes)] for yes in p[:, 1] >= threshold]
    return [classes[place] for place in p.argmax(axis=1)]


def n_rounds(said: pd.DataFrame) -> int:
    """How often everybody is tested: repeats times seeds."""
    return len(said[["repeat", "seed"]].drop_duplicates())


def people_of(said: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    """One row per participant, with means over rounds.

    Returns:
        participant_id, label, `p_CLASS`, own (probability of the label), rounds, and wrong: the rounds in
        which they were called something else.
    """
    columns = [f"p_{name}" for name in classes]
    rows = said.assign(wrong=said["called"] != said["label"]).groupby("participant_id", sort=True)
    found = rows[["label"]].first().join(rows[columns].mean())
    place = [list(classes).index(name) for name in found["label"]]
    found["own"] = found[columns].to_numpy()[np.arange(len(found)), place]
    found["rounds"], found["wrong"] = rows.size(), rows["wrong"].sum()
    return found.reset_index()


def told_n(people: pd.DataFrame, classes: Sequence[str]) -> str:
    """`23 participants (12 control, 11 patient)`."""
    counts = ", ".join(f"{int((people['label'] == name).sum())} {name}" for name in classes)
    return f"{counted(len(people), 'participant')} ({counts})"
