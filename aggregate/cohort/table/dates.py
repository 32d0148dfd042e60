"""Dates of tables: read as told, never guessed; and when each session of a store was scanned."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from aggregate.cohort.table.cohort_table import CohortTable, read_table
from aggregate.cohort.table.ids import plain_participant, session_of_visit
from aggregate.cohort.table.join_spec import DatesSpec, JoinSpec
from cache_schema.common.errors import ConfigError, SlicecacheError

OTHER_ORDER = re.compile(r"\d{1,4}([./-])\d{1,2}\1\d{1,4}([ T].*)?")
"""What is a date to a reader, in whatever order."""

Pair = tuple[str, str]


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


@dataclass(frozen=True, slots=True)
class ScanDates:
    """On which days the sessions of a store were scanned, as far as tables say."""

    days: dict[Pair, tuple[date, ...]]
    """Participant and session, as they are compared -> the different days that stand there."""
    source: str
    """Where they stand, for sentences."""

    def day(self, pair: Pair) -> tuple[date | None, str]:
        """The session's day, or why there is none."""
        found = self.days.get(pair, ())
        if len(found) == 1:
            return found[0], ""
        if not found:
            return None, f"no date of the session (in {self.source})"
        told = ", ".join(day.isoformat() for day in found[:3])
        return None, f"ambiguous date of the session ({told} in {self.source})"


def read_scan_dates(spec: DatesSpec, join: JoinSpec, by_session: bool) -> ScanDates:
    """Read them.

    Args:
        spec: From where.
        join: How ids are compared.
        by_session: Whether the store has sessions; without, a participant has one date.

    Raises:
        ConfigError: If a folder or a column does not exist.
        SlicecacheError: If a table cannot be read, or a cell is no date.
    """
    days: dict[Pair, set[date]] = {}
    if spec.table is not None:
        table = read_table(spec.table, (), spec.sheet)
        people = table.text[table.require(spec.participant, "join.dates.participant")].tolist()
        _collect(days, table, people, spec, join, by_session)
        source = spec.table.name
    else:
        assert spec.bids is not None
        files = sorted(spec.bids.glob("sub-*/sub-*_sessions.tsv"))
        if not files:
            raise ConfigError(f"join.dates: {str(spec.bids)!r} has no sub-*/sub-*_sessions.tsv")
        for file in files:
            table = read_table(file)
            people = [file.parent.name] * len(table.text)
            _collect(days, table, people, spec, join, by_session)
        source = "sub-*_sessions.tsv"
    return ScanDates({pair: tuple(sorted(found)) for pair, found in days.items()}, source)


def _collect(
    days: dict[Pair, set[date]],
    table: CohortTable,
    people: Sequence[str],
    spec: DatesSpec,
    join: JoinSpec,
    by_session: bool,
) -> None:
    """One table's dates."""
    visits = [""] * len(people)
    if by_session:
        visits = table.text[table.require(spec.session, "join.dates.session")].tolist()
    found = read_dates(table, spec.date, spec.format, "join.dates.date", "join.dates.format")
    for person, visit, day in zip(people, visits, found, strict=True):
        if day is not None:
            session = session_of_visit(join, visit) if by_session else ""
            days.setdefault((plain_participant(join, person), session), set()).add(day.date())


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
