"""From columns of numbers and text to a design matrix, fitted on the training part only."""

import numpy as np
import pandas as pd

from aggregate.common.arrays import Floats, Ints
from aggregate.common.table_values import natural


def design(frame: pd.DataFrame, train: Ints) -> Floats:
    """Numbers as they are and text as one column per value, gaps filled from the training rows.

    A missing number becomes the training rows' median, a missing text their commonest value (the first in
    natural order of equally common ones); a text that training never saw is 0 in every column. A column
    that training has no value of is dropped.

    Args:
        frame: All rows.
        train: Rows to learn from.

    Returns:
        (row, column) for all rows.
    """
    parts = [
        _numbers(column, train) if _numeric(column) else _text(column, train) for _, column in frame.items()
    ]
    return np.concatenate([np.zeros((len(frame), 0)), *parts], axis=1)


def _numeric(column: "pd.Series[float]") -> bool:
    return bool(pd.api.types.is_numeric_dtype(column))


def _numbers(column: "pd.Series[float]", train: Ints) -> Floats:
    values = column.to_numpy(dtype=np.float64)
    known = values[train][~np.isnan(values[train])]
    if not len(known):
        return np.zeros((len(values), 0))
    return np.where(np.isnan(values), np.median(known), values)[:, None]


def _text(column: "pd.Series[str]", train: Ints) -> Floats:
    gone = column.isna().to_numpy()
    words = np.array([str(cell) for cell in column], dtype=object)
    seen = [str(w) for w in words[train][~gone[train]]]
    if not seen:
        return np.zeros((len(words), 0))
    values = sorted(set(seen), key=natural)
    words[gone] = max(values, key=seen.count)
    return np.stack([(words == value).astype(np.float64) for value in values], axis=1)
