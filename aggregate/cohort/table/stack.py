"""Several cohort tables, one below another: two hospitals' spreadsheets, each with names of its own.

Columns go by their names once each table is renamed as it says; what a table does not have is missing in its
rows. A column more says which table a row is of, and stands for the site where there is no column of it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainSerializer

from aggregate.cohort.table.cohort_table import CohortTable, frames, read_table
from aggregate.cohort.table.columns import TABLE
from aggregate.cohort.table.ids import plain_participant, session_of_visit
from aggregate.cohort.table.join_spec import IdsSpec, JoinSpec, Locate
from aggregate.cohort.table.merge import read_joined_table
from aggregate.common.labels import Label
from aggregate.common.table_values import listed
from cache_schema.common.errors import SlicecacheError
from cache_schema.common.short_forms import ONE, reads
from cache_schema.common.strict import Strict


class StackedSpec(Strict):
    """One of several tables."""

    table: Path
    """CSV, TSV, .xlsx or Parquet, e.g. `south.xlsx`."""
    name: Label | None = None
    """What its rows have in the column `cohort_table`; by default the file's name without its
    ending, e.g. `south`."""
    sheet: str | None = None
    """Of a workbook that has several, e.g. `visits`."""
    join: IdsSpec = IdsSpec()
    """How it calls its columns and ids, and tables beside it alone; then the section's `join` applies to all
    rows, e.g. `{participant: PTID}`."""

    @property
    def called(self) -> str:
        """What its rows have in the column more."""
        return self.name or self.table.stem

    @property
    def says_nothing(self) -> bool:
        """Whether it is a file and nothing else."""
        return self.name is None and self.join == IdsSpec()


@reads({"type": "string"})
def _bare(value: Any) -> Any:
    """Read a bare path as a table that says no more."""
    return {"table": value} if isinstance(value, str | Path) else value


@reads(ONE)
def _each(value: Any) -> Any:
    """Read what is no list as a list of one."""
    if isinstance(value, list | tuple):
        return value
    return [value if isinstance(value, Mapping) else {"table": value}]


def said_tables(tables: Sequence[StackedSpec]) -> Any:
    """As a pipeline file says it."""
    if len(tables) == 1 and tables[0].says_nothing and tables[0].sheet is None:
        return str(tables[0].table)
    return [each.model_dump(mode="json", exclude_unset=True) for each in tables]


CohortTables = Annotated[
    tuple[Annotated[StackedSpec, BeforeValidator(_bare)], ...],
    Field(min_length=1),
    BeforeValidator(_each),
    PlainSerializer(said_tables),
]
"""A table, or several."""


def located_tables(tables: Sequence[StackedSpec], locate: Locate) -> tuple[StackedSpec, ...]:
    """The same with every path made absolute."""
    return tuple(
        each.model_copy(update={"table": locate(each.table), "join": each.join.located(locate)})
        for each in tables
    )


def read_tables(specs: Sequence[StackedSpec], join: JoinSpec, missing: Sequence[str]) -> CohortTable:
    """The one table, or several as one, with further tables beside it.

    Raises:
        ConfigError: If a column does not exist.
        SlicecacheError: If a table cannot be read or is ambiguous, or somebody stands in two.
    """
    if len(specs) == 1 and specs[0].says_nothing:
        return read_joined_table(read_table(specs[0].table, missing, specs[0].sheet), join, missing)
    table = read_joined_table(read_stacked(specs, join, missing), join, missing)
    refuse_shared(table, join)
    return table


def read_stacked(specs: Sequence[StackedSpec], join: JoinSpec, missing: Sequence[str]) -> CohortTable:
    """All tables as one.

    Args:
        specs: In their order.
        join: Of the section: how it calls participants and sessions.
        missing: Codes that mean missing.

    Raises:
        ConfigError: If a column does not exist.
        SlicecacheError: If a table cannot be read, has the column of tables' names already, or is called as
            another is.
    """
    names = [spec.called for spec in specs]
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        raise SlicecacheError(
            f"cohort: more than one table is called {twice[0]!r}; name them, {{table: FILE, name: NAME}}"
        )
    tables = [_own_way(spec, join, missing) for spec in specs]
    for table in tables:
        if TABLE in table.text.columns:
            raise SlicecacheError(
                f"cohort: {table.path.name} has a column {TABLE!r}, which of several tables says whose a row "
                "is; rename it by its join: {rename: ...}"
            )
    columns = dict.fromkeys(column for table in tables for column in map(str, table.text.columns))
    cells = {column: [c for table in tables for c in _cells(table, column)] for column in columns}
    cells[TABLE] = [name for name, table in zip(names, tables, strict=True) for _ in table.text.index]
    unclear = tuple(why for t in tables for why in t.unclear or [""] * len(t.text))
    return replace(
        CohortTable(_called(tables), *frames(cells, missing)),
        unclear=unclear if any(unclear) else (),
        merged=tuple(each for table in tables for each in table.merged),
        notes=tuple(_absent(tables, columns)),
    )


def _own_way(spec: StackedSpec, join: JoinSpec, missing: Sequence[str]) -> CohortTable:
    """One table with its own names and ids made the section's, and its own further tables beside it."""
    own, told = spec.join, spec.join.model_fields_set
    table = read_joined_table(read_table(spec.table, missing, spec.sheet), own, missing)
    if told & {"participant", "strip_prefix", "ignore", "pad"}:
        column = own.participant if "participant" in told else join.participant
        table = table.with_cells(column, join.participant, lambda cell: plain_participant(own, cell))
    if told & {"session", "visits", "pad"}:
        there = join.session or "session_id"
        column = own.session or there
        if column in table.text.columns or "session" in told:
            table = table.with_cells(column, there, lambda cell: session_of_visit(own, cell))
    return table


def _cells(table: CohortTable, column: str) -> list[str]:
    """A column, or as many empty cells."""
    return list(table.text[column]) if column in table.text.columns else [""] * len(table.text)


def _called(tables: Sequence[CohortTable]) -> Path:
    """What all are called in sentences; paths that stand in them are relative to the first one's folder."""
    return tables[0].path.with_name(listed([table.path.name for table in tables], 3))


def _absent(tables: Sequence[CohortTable], columns: Iterable[str]) -> list[str]:
    """A sentence on columns that stand in some of the tables alone: a name that differs is a gap."""
    gaps = {
        table.path.name: [column for column in columns if column not in table.text.columns]
        for table in tables
    }
    return [
        f"{name} has no column {listed(gone)}: missing in all of its rows"
        for name, gone in gaps.items()
        if gone
    ]


def refuse_shared(table: CohortTable, join: JoinSpec) -> None:
    """Refuse a participant who stands in more than one of the tables.

    Raises:
        SlicecacheError: Naming them, and the tables.
    """
    if TABLE not in table.text.columns or join.participant not in table.text.columns:
        return
    where: dict[str, dict[str, None]] = {}
    for person, name in zip(table.text[join.participant], table.text[TABLE], strict=True):
        if person:
            where.setdefault(plain_participant(join, person), {})[name] = None
    shared = [person for person, names in where.items() if len(names) > 1]
    if shared:
        raise SlicecacheError(
            f"cohort: {listed(shared, 3)} stand{'s' * (len(shared) == 1)} in more than one table "
            f"({listed(list(where[shared[0]]))}), and a participant belongs to one; leave the others' rows "
            "out of their files, or, if these are other people, keep them apart by their ids"
        )
