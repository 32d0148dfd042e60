"""Dates of tables: read as told, never guessed; and the row whose date is nearest."""

import re
from collections.abc import Sequence
from datetime import date, datetime

from aggregate.cohort.table.cohort_table import CohortTable
from cache_schema.common.errors import SlicecacheError

OTHER_ORDER = re.compile(r"\d{1,4}([./-])\d{1,2}\1\d{1,4}([ T].*)?")
"""What is a date to a reader, in whatever order."""


def read_date(text: str, form: str | None) -> datetime | None:
    """A date, with its time where it has one; None where it is none of this form.

    Args:
        text: The cell.
        form: As for `strptime`; ISO's, year-month-day, without.
    """
    try:
        found = (
            datetime.fromisoformat(text.strip()) if form is None else datetime.strptime(text.strip(), form)
        )
    except ValueError:
        return None
    return found.replace(tzinfo=None)


def read_dates(
    table: CohortTable, column: str, form: str | None, where: str, key: str
) -> list[datetime | None]:
    """A column of dates, None where missing.

    Args:
        table: Whose.
        column: Which.
        form: As for `read_date`.
        where: The key of the pipeline that names the column, for sentences.
        key: The one that says how dates are written.

    Raises:
        ConfigError: If there is no such column.
        SlicecacheError: If a cell is no such date.
    """
    table.require(column, where)
    cells = [str(cell) for cell in table.text[column]]
    gone = table.typed[column].isna().tolist()
    found = [None if miss else read_date(cell, form) for cell, miss in zip(cells, gone, strict=True)]
    odd = [cell for cell, miss, day in zip(cells, gone, found, strict=True) if day is None and not miss]
    if odd:
        raise SlicecacheError(
            f"{where}: {column!r} of {table.path.name} holds {odd[0]!a:.60}, which is no date written "
            f"{form or 'year-month-day'}; say how dates are written there, e.g. {key}: '%m/%d/%Y'"
        )
    return found


def looks_like_a_date(text: str) -> bool:
    """Whether a cell is a date to a reader, whatever comes first in it."""
    return OTHER_ORDER.fullmatch(text.strip()) is not None


def nearest_row(day: date, rows: Sequence[tuple[int, date]], most: int, table: str) -> tuple[int, str]:
    """The row whose date is nearest, or -1 and why there is none.

    Args:
        day: Of the scan.
        rows: Of the participant, each with its date.
        most: Days that it may be away.
        table: Its file's name, for sentences.
    """
    near = sorted((abs((other - day).days), row, other) for row, other in rows)
    if not near or near[0][0] > most:
        closest = f" (the nearest is {near[0][0]} days away)" if near else " (none has a date)"
        return -1, f"no row within {most} days{closest}"
    equal = [other for apart, _, other in near if apart == near[0][0]]
    if len(equal) > 1:
        told = ", ".join(other.isoformat() for other in equal[:3])
        return -1, f"ambiguous ({len(equal)} rows of {table} equally near: {told})"
    return near[0][1], ""
