"""The cohort table: a CSV, TSV, workbook or Parquet file as text and with typed columns.

Ids stay text from the file to the end ("007" is not 7).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aggregate.common.table_values import listed, nearest, typed
from cache_schema.common.errors import ConfigError, SlicecacheError
from cache_schema.common.text.tables import read_rows


@dataclass(frozen=True, slots=True)
class MergedColumns:
    """What became of one further table that was merged into the cohort table."""

    table: str
    """Its file's name."""
    by: tuple[str, ...]
    """Columns of the cohort table that rows were found by."""
    rows: int
    """Of the cohort table."""
    found: int
    """Of these the ones with a row in the further table."""
    absent: tuple[str, ...]
    """Keys of the others, each once."""
    unclear: tuple[str, ...] = ()
    """Keys for which the further table has several rows that differ."""
    unused: int = 0
    """Rows of the further table that no row of the cohort table is for."""

    def sentence(self) -> str:
        """`apoe.csv: 40 of 42 rows have theirs by RID; none for 12, 15`."""
        none = f"; none for {listed(self.absent, 3)}" if self.absent else ""
        several = f"; several that differ for {listed(self.unclear, 3)}" if self.unclear else ""
        return (
            f"{self.table}: {self.found} of {self.rows} rows have theirs by {', '.join(self.by)}"
            f"{none}{several}"
        )


@dataclass(frozen=True, slots=True)
class CohortTable:
    """The cohort file: the same rows as text and with typed columns."""

    path: Path
    text: pd.DataFrame
    """Every cell as it was written, stripped."""
    typed: pd.DataFrame
    """Numbers as float64, text as object, missing values as NaN."""
    unclear: tuple[str, ...] = ()
    """Why a row cannot be used, empty where it can; no text at all where all rows can."""
    merged: tuple[MergedColumns, ...] = ()
    """Further tables whose columns are in it."""
    notes: tuple[str, ...] = ()
    """What a reader should know of it."""

    def require(self, column: str, what: str) -> str:
        """The column's name, if there is such a column.

        Raises:
            ConfigError: Naming the nearest one.
        """
        if column in self.text.columns:
            return column
        near = nearest(column, list(self.text.columns))
        raise ConfigError(f"{what}: {self.path.name} has no column {column!r}{near}")

    def rows(self, keep: NDArray[np.bool_]) -> "CohortTable":
        """The table with some of its rows, renumbered from 0."""
        # Without a text per row all rows are clear.
        unclear = [why for why, kept in zip(self.unclear, keep, strict=bool(self.unclear)) if kept]
        return replace(
            self,
            text=self.text[keep].reset_index(drop=True),
            typed=self.typed[keep].reset_index(drop=True),
            unclear=tuple(unclear),
        )

    def renamed(self, names: Mapping[str, str]) -> "CohortTable":
        """The table with columns under other names.

        Raises:
            ConfigError: If a column does not exist.
            SlicecacheError: If a new name is another column's.
        """
        for old in names:
            self.require(old, "join.rename")
        found = [names.get(name, name) for name in self.text.columns]
        twice = sorted({name for name in found if found.count(name) > 1})
        if twice:
            raise SlicecacheError(
                f"join.rename: {self.path.name} would have more than one column {listed(twice)}"
            )
        return replace(self, text=self.text.set_axis(found, axis=1), typed=self.typed.set_axis(found, axis=1))

    def with_cells(self, column: str, name: str, plain: Callable[[str], str]) -> "CohortTable":
        """The table with a column's cells made plain, under another name.

        Raises:
            ConfigError: If there is no such column.
            SlicecacheError: If the new name is another column's.
        """
        self.require(column, "cohort")
        table = self.renamed({column: name})
        cells = [plain(str(cell)) if cell else "" for cell in table.text[name]]
        return replace(table, text=table.text.assign(**{name: cells}))


def read_table(path: Path, missing: Sequence[str] = (), sheet: str | None = None) -> CohortTable:
    """Read a table; of text the separator is the one that the header line has most of.

    Args:
        path: UTF-8 text with a header line, separated by tabs, commas or semicolons; an .xlsx workbook;
            Parquet.
        missing: Codes that mean missing in every column, besides empty cells, n/a and NaN.
        sheet: Of a workbook.

    Raises:
        SlicecacheError: If it cannot be read, is empty, has ragged rows or two columns of one name.
    """
    lines = read_rows(path, f"the cohort table {str(path)!r}", "\t,;", sheet)
    if len(lines) < 2:
        raise SlicecacheError(f"the cohort table {str(path)!r} has no rows")
    names = _header(lines[0][1], path)
    for number, line in lines[1:]:
        if len(line) != len(names):
            raise SlicecacheError(
                f"line {number} of {str(path)!r} has {len(line)} cells, its header has {len(names)}"
            )
    columns = {name: [line[i] for _, line in lines[1:]] for i, name in enumerate(names)}
    return CohortTable(path, *frames(columns, missing))


def frames(columns: Mapping[str, Sequence[str]], missing: Sequence[str]) -> tuple[Any, Any]:
    """Columns of cells as text, and typed."""
    text = pd.DataFrame({name: pd.Series(list(cells), dtype="object") for name, cells in columns.items()})
    return text, pd.DataFrame({name: typed(cells, missing) for name, cells in columns.items()})


def _header(names: list[str], path: Path) -> list[str]:
    """Column names; an unnamed one (an exported row number) is called by its place."""
    named = [name or f"column_{i + 1}" for i, name in enumerate(names)]
    twice = sorted({name for name in named if named.count(name) > 1})
    if twice:
        raise SlicecacheError(f"{str(path)!r} has more than one column {listed(twice)}")
    return named
