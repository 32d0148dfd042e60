"""Further tables beside the cohort table: APOE, scanner, what else stands in a file of its own.

Every row keeps its place and gets at most one row of the further table. A key with several that differ is
never decided here: it is refused, or its rows are left out and listed.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import pandas as pd

from aggregate.cohort.table.cohort_table import CohortTable, MergedColumns, frames, read_table
from aggregate.cohort.table.ids import plain_participant, session_of_visit
from aggregate.cohort.table.join_spec import IdsSpec, MergeSpec
from aggregate.cohort.table.where import where
from aggregate.common.table_values import is_missing, listed, value_name
from cache_schema.common.errors import ConfigError, SlicecacheError

Key = tuple[str, ...]
Found = dict[Key, list[tuple[str, ...]]]
"""Key -> the different rows that a table has for it, of the columns that are taken."""


def read_joined_table(table: CohortTable, spec: IdsSpec, missing: Sequence[str]) -> CohortTable:
    """The cohort table with columns renamed and further tables beside it.

    Raises:
        ConfigError: If a column does not exist.
        SlicecacheError: If a further table cannot be read, brings a column that is already there, or has
            several rows that differ for one key and `join.ambiguous` is `refuse`.
    """
    table = table.renamed(spec.rename)
    for each in spec.tables:
        table = _merged(table, spec, each, missing)
    return table


def _merged(table: CohortTable, spec: IdsSpec, further: MergeSpec, missing: Sequence[str]) -> CohortTable:
    other = read_table(further.table, missing, further.sheet)
    if further.where is not None:
        keep, _ = where(further.where, other.typed)
        other = other.rows(keep)
    for here, there in further.by.items():
        table.require(here, f"join.tables: by, for {other.path.name}")
        other.require(there, "join.tables: by")
    taken = _taken(table, further, other)
    ours = _keys(table, further.by, list(further.by), spec, missing)
    theirs = _keys(other, further.by, list(further.by.values()), spec, missing)
    found = _by_key(theirs, other, list(taken))
    unclear = [key for key in dict.fromkeys(ours) if len(found.get(key, ())) > 1]
    if unclear and spec.ambiguous == "refuse":
        raise SlicecacheError(_refusal(unclear, found, other, table, list(taken)))
    wanted = set(ours)
    told = MergedColumns(
        table=other.path.name,
        by=tuple(further.by),
        rows=len(ours),
        found=sum(len(found.get(key, ())) == 1 for key in ours),
        absent=_told([key for key in ours if key not in found]),
        unclear=_told(unclear),
        unused=sum(key not in wanted for key in theirs),
    )
    several = [found.get(key, [("",) * len(taken)]) for key in ours]
    columns = {name: [rows[0][i] for rows in several] for i, name in enumerate(taken.values())}
    why = [f"ambiguous ({len(rows)} rows of {other.path.name})" * (len(rows) > 1) for rows in several]
    return _beside(table, columns, why, told, missing)


def _taken(table: CohortTable, further: MergeSpec, other: CohortTable) -> dict[str, str]:
    """Columns of the further table -> their names in the cohort table."""
    keys = set(further.by.values())
    taken = further.columns or {name: name for name in other.text.columns if name not in keys}
    for name in taken:
        other.require(name, "join.tables: columns")
    names = list(taken.values())
    twice = sorted({n for n in names if n in table.text.columns or names.count(n) > 1})
    if twice:
        raise ConfigError(
            f"join.tables: {other.path.name} brings {listed(twice)}, which {table.path.name} has already; "
            "say what is taken and how it is called: columns: {NAME THERE: NAME HERE}"
        )
    return taken


def _keys(
    table: CohortTable, roles: Iterable[str], columns: Sequence[str], spec: IdsSpec, missing: Sequence[str]
) -> list[Key]:
    """Of every row, empty where a part of it is missing; ids are compared as the join compares them.

    Args:
        table: Whose rows.
        roles: What the columns are called in the cohort table.
        columns: What they are called here.
        spec: Of the join.
        missing: Codes that mean missing.
    """

    def plain(role: str, cell: str) -> str:
        if role == spec.participant:
            return plain_participant(spec, cell)
        return session_of_visit(spec, cell) if role == (spec.session or "session_id") else value_name(cell)

    cells = [[str(cell) for cell in table.text[column]] for column in columns]
    return [
        ()
        if any(is_missing(cell, missing) for cell in row)
        else tuple(plain(role, cell) for role, cell in zip(roles, row, strict=True))
        for row in zip(*cells, strict=True)
    ]


def _by_key(keys: Sequence[Key], other: CohortTable, taken: Sequence[str]) -> Found:
    """Different rows by key; rows that are alike in all that is taken are one."""
    found: Found = {}
    cells = [other.text[name].tolist() for name in taken]
    for key, row in zip(keys, zip(*cells, strict=True) if cells else [()] * len(keys), strict=True):
        if key and row not in found.setdefault(key, []):
            found[key].append(row)
    return found


def _beside(
    table: CohortTable,
    columns: dict[str, list[str]],
    why: Sequence[str],
    told: MergedColumns,
    missing: Sequence[str],
) -> CohortTable:
    """The cohort table with more columns; `why` says of each row why these are not clear."""
    text, numbers = frames(columns, missing)
    before = table.unclear or ("",) * len(why)
    return replace(
        table,
        text=pd.concat([table.text, text], axis=1),
        typed=pd.concat([table.typed, numbers], axis=1),
        unclear=tuple(first or second for first, second in zip(before, why, strict=True)),
        merged=(*table.merged, told),
    )


def _told(keys: Sequence[Key]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(" ".join(key) or "(missing)" for key in keys))


def _refusal(
    unclear: Sequence[Key], found: Found, other: CohortTable, table: CohortTable, taken: Sequence[str]
) -> str:
    rows = found[unclear[0]]
    differing = [name for i, name in enumerate(taken) if len({row[i] for row in rows}) > 1]
    told = listed([" ".join(key) for key in unclear], 3)
    return (
        f"{other.path.name} has several rows for {told} of {table.path.name}, which differ in "
        f"{listed(differing, 3)}; which one holds is not clear: choose by where: in join.tables, take fewer "
        "columns, or leave them out by join: {ambiguous: leave_out}"
    )
