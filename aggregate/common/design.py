"""From columns of numbers and text to a design matrix, fitted on the training part only.

A missing number becomes the training rows' median, a missing text their commonest value (the first in natural
order of equally common ones); a text that training never saw is 0 in every column. A column that training has
no value of is dropped. In a table without one of the columns a number counts as missing, and a text as one
that training never saw.
"""

from typing import Annotated, Literal

import numpy as np
import pandas as pd
from pydantic import Field

from aggregate.common.arrays import Floats, Ints
from aggregate.common.table_values import natural, value_name
from cache_schema.common.strict import Strict


class NumberColumn(Strict):
    """A number as it is."""

    kind: Literal["number"] = "number"
    name: str
    missing: float
    """What stands for a missing one."""

    @property
    def width(self) -> int:
        """Columns of the matrix."""
        return 1

    def matrix(self, frame: pd.DataFrame) -> Floats:
        """Of all rows (row, 1)."""
        if self.name not in frame:
            return np.full((len(frame), 1), self.missing)
        values = pd.to_numeric(frame[self.name], errors="coerce").to_numpy(dtype=np.float64)
        return np.where(np.isnan(values), self.missing, values)[:, None]


class TextColumn(Strict):
    """A column of 0 and 1 per value."""

    kind: Literal["text"] = "text"
    name: str
    values: tuple[str, ...] = Field(min_length=1, max_length=100_000)
    missing: str
    """The value of a row that has none."""

    @property
    def width(self) -> int:
        """Columns of the matrix."""
        return len(self.values)

    def matrix(self, frame: pd.DataFrame) -> Floats:
        """Of all rows (row, value)."""
        words = self.words(frame)
        return np.stack([(words == value).astype(np.float64) for value in self.values], axis=1)

    def words(self, frame: pd.DataFrame) -> "np.ndarray[tuple[int], np.dtype[np.object_]]":
        """The value of every row, empty where the column is not there (row,)."""
        if self.name not in frame:
            return np.full(len(frame), "", dtype=object)
        column = frame[self.name]
        told = value_name if pd.api.types.is_numeric_dtype(column) else str
        words = np.array([told(cell) for cell in column], dtype=object)
        words[column.isna().to_numpy()] = self.missing
        return words


class Design(Strict):
    """How rows of a table become numbers."""

    columns: tuple[Annotated[NumberColumn | TextColumn, Field(discriminator="kind")], ...] = Field(
        max_length=10_000
    )

    @property
    def width(self) -> int:
        """Columns of the matrix."""
        return sum(column.width for column in self.columns)

    def matrix(self, frame: pd.DataFrame) -> Floats:
        """(row, column) for all rows."""
        return np.concatenate(
            [np.zeros((len(frame), 0)), *(column.matrix(frame) for column in self.columns)], axis=1
        )


def fit_design(frame: pd.DataFrame, train: Ints) -> Design:
    """Learn medians, values and the commonest of them.

    Args:
        frame: All rows.
        train: Rows to learn from.
    """
    found = [
        _number(str(name), column, train)
        if pd.api.types.is_numeric_dtype(column)
        else _text(str(name), column, train)
        for name, column in frame.items()
    ]
    return Design(columns=tuple(column for column in found if column is not None))


def design(frame: pd.DataFrame, train: Ints) -> Floats:
    """The matrix of all rows (row, column), learnt from some of them."""
    return fit_design(frame, train).matrix(frame)


def _number(name: str, column: "pd.Series[float]", train: Ints) -> NumberColumn | None:
    values = column.to_numpy(dtype=np.float64)[train]
    known = values[~np.isnan(values)]
    return NumberColumn(name=name, missing=float(np.median(known))) if len(known) else None


def _text(name: str, column: "pd.Series[str]", train: Ints) -> TextColumn | None:
    own = column.iloc[train]
    seen = [str(word) for word in own[~own.isna()]]
    if not seen:
        return None
    values = sorted(set(seen), key=natural)
    return TextColumn(name=name, values=tuple(values), missing=max(values, key=seen.count))
