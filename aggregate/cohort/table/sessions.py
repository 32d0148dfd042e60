"""Which of a participant's sessions take part: `sessions: first | last | all | COLUMN`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from aggregate.cohort.table.cohort_table import CohortTable
from aggregate.cohort.table.dates import looks_like_a_date, read_date, read_dates
from aggregate.cohort.table.ids import bare
from aggregate.cohort.table.join import Join
from aggregate.common.table_values import natural, nearest, value_name
from cache_schema.common.errors import ConfigError, SlicecacheError
from cache_schema.format.identity import VolumeKey

FLAGS = {"1", "true", "yes", "y", "x"}


@dataclass(frozen=True, slots=True)
class Visit:
    """One participant's session, and the row of the table that it was joined to."""

    participant_id: str
    session_id: str
    row: int


@dataclass(frozen=True, slots=True)
class SessionOrder:
    """What the sessions of a participant are ordered by."""

    ranks: Sequence[Any]
    """Of every visit; None where it is not known."""
    by: str
    """What that is, for sentences."""


def session_order(
    visits: Sequence[Visit],
    keys: Sequence[VolumeKey],
    table: CohortTable,
    join: Join,
) -> SessionOrder | None:
    """The order that was asked for: by a column, by the dates of scans, or None for the natural one.

    Raises:
        ConfigError: If there is no such column.
        SlicecacheError: If it holds dates whose order cannot be told.
    """
    if join.spec.order is not None:
        column = table.require(join.spec.order, "join.order")
        ranks = _ranks(table, column, join.spec.date_format)
        return SessionOrder([ranks[visit.row] for visit in visits], column)
    if join.scans is not None:
        return SessionOrder([join.day(key)[0] for key in keys], "date")
    return None


def _ranks(table: CohortTable, column: str, form: str | None) -> list[Any]:
    """Of every row: a number, a date, or text in natural order; None where missing.

    Raises:
        SlicecacheError: If dates are not written as told.
    """
    cells = table.typed[column]
    if pd.api.types.is_numeric_dtype(cells):
        return [None if pd.isna(cell) else float(cell) for cell in cells]
    there = [str(cell) for cell in cells if not pd.isna(cell)]
    if form is not None or all(read_date(cell, None) for cell in there):
        return list(read_dates(table, column, form, "join.order", "join.date_format"))
    odd = next((cell for cell in there if looks_like_a_date(cell)), None)
    if odd is not None:
        raise SlicecacheError(
            f"join.order: {column!r} of {table.path.name} holds {odd!a:.60}, and whether day or month comes "
            "first cannot be told; say join.date_format, e.g. '%m/%d/%Y'"
        )
    return [None if pd.isna(cell) else natural(str(cell)) for cell in cells]


def choose_sessions(
    rule: str,
    visits: Sequence[Visit],
    table: CohortTable,
    by_session: bool,
    order: SessionOrder | None = None,
) -> list[str]:
    """Say for every visit why it is left out; an empty text where it is used.

    `first` and `last` are among the visits given, those that have a label and a volume.

    Args:
        rule: `first`, `last`, `all`, or a column.
        visits: What there is to choose from; sessions of one participant may repeat.
        table: The cohort table that `Visit.row` counts in.
        by_session: Whether the table has a row per session.
        order: Of the visits; by default the natural one of session ids.

    Raises:
        ConfigError: If the rule is neither a word nor a column.
    """
    if rule == "all":
        return [""] * len(visits)
    if rule in ("first", "last"):
        return _extreme(rule, visits, order)
    if rule not in table.text.columns:
        near = nearest(rule, ["first", "last", "all", *table.text.columns])
        raise ConfigError(f"sessions: {rule!r} is neither first, last, all nor a column{near}")
    cells = [str(table.text[rule].iloc[v.row]) for v in visits]
    if by_session:
        return ["" if value_name(c).lower() in FLAGS else f"session not marked in {rule}" for c in cells]
    return [
        "" if bare(cell, ["ses-"]) == bare(v.session_id, ["ses-"]) else f"session not the one in {rule}"
        for cell, v in zip(cells, visits, strict=True)
    ]


def _extreme(rule: str, visits: Sequence[Visit], order: SessionOrder | None) -> list[str]:
    """Keep each participant's first or last session; one whose place is not known is neither of several."""
    ranks = [None] * len(visits) if order is None else order.ranks
    sessions: dict[str, set[str]] = {}
    for visit in visits:
        sessions.setdefault(visit.participant_id, set()).add(visit.session_id)
    placed = [order is None or rank is not None for rank in ranks]
    best: dict[str, tuple[Any, str]] = {}
    for visit, rank, known in zip(visits, ranks, placed, strict=True):
        if not known and len(sessions[visit.participant_id]) > 1:
            continue
        mine = (rank is not None, 0 if rank is None else rank, natural(visit.session_id))
        held = best.get(visit.participant_id)
        if held is None or (mine < held[0] if rule == "first" else mine > held[0]):
            best[visit.participant_id] = (mine, visit.session_id)
    found = []
    for visit, known in zip(visits, placed, strict=True):
        if best.get(visit.participant_id, (None, None))[1] == visit.session_id:
            found.append("")
        elif not known and order is not None:
            found.append(f"session without a place in order (no {order.by})")
        else:
            found.append(f"session not {rule}")
    return found
