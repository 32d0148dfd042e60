"""Who is called what: participants by label and by the label that they were given."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from aggregate.common.arrays import Floats, Ints
from aggregate.statistics.metrics import Scores


def called_classes(scores: Scores, threshold: float = 0.5, temperature: float = 1.0) -> Ints:
    """The class that each participant is called: by the threshold of two, the most probable of more."""
    p = scores.probability(temperature)
    called = (p[:, 1] >= threshold) if p.shape[1] == 2 else p.argmax(axis=1)
    return np.asarray(called, dtype=np.int64)


def confusion_counts(y: Ints, called: Ints, n_classes: int) -> Floats:
    """Participants (true class, class called)."""
    counts = np.zeros((n_classes, n_classes))
    np.add.at(counts, (y, called), 1)
    return counts


def confusion_json(counts: Floats) -> dict[str, Any]:
    """The part `confusion` of a `metrics.json`; rows are labels, columns what participants are called."""
    return {"rows": "label", "columns": "called", "counts": counts.round(6).tolist()}


def confusion_table(classes: Sequence[str], counts: Sequence[Sequence[float]]) -> pd.DataFrame:
    """A row per label and class called: label, called, participants, share (of the label's participants)."""
    rows = [
        {"label": label, "called": called, "participants": n, "share": n / sum(row) if sum(row) else np.nan}
        for label, row in zip(classes, counts, strict=True)
        for called, n in zip(classes, row, strict=True)
    ]
    return pd.DataFrame(rows)
