"""Who is called what: participants by label and by the label that they were given."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from aggregate.common.arrays import Floats, Ints
from aggregate.statistics.metrics import Scores
from cache_schema.common.text.counts import counted


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


def mean_over(metrics: Mapping[str, Any]) -> str:
    """`2 repeats`, `2 repeats and 3 seeds`: what counts are a mean over, and so may be fractions.

    Empty where everybody is called once, as by a bundle.

    Args:
        metrics: As in `metrics.json`.
    """
    if "n_members" in metrics:
        return ""
    times = {"repeat": int(metrics.get("n_repeats") or 1), "seed": int(metrics.get("n_seeds") or 1)}
    return " and ".join(counted(n, word) for word, n in times.items() if n > 1)


def confusion_table(
    classes: Sequence[str], counts: Sequence[Sequence[float]], over: str = ""
) -> pd.DataFrame:
    """A row per label and class called: label, called, participants, share (of the label's participants).

    And `mean_over`, the same in every row, where `over` names what participants are a mean over.
    """
    rows = [
        {"label": label, "called": called, "participants": n, "share": n / sum(row) if sum(row) else np.nan}
        for label, row in zip(classes, counts, strict=True)
        for called, n in zip(classes, row, strict=True)
    ]
    return pd.DataFrame(rows).assign(**({"mean_over": over} if over else {}))
