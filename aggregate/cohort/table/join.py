"""The cohort table, and how its rows find the volumes of the store.

Ids stay text from the file to the end ("007" is not 7). A participant's id is compared without `sub-`
and the user's own prefixes, a session's without `ses-`. A table with a session column is joined on
(participant, session), one without on the participant.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field

from aggregate.common.labels import Label, read_many, read_text_keys
from aggregate.common.table_values import listed, nearest, typed
from cache_schema.common.errors import ConfigError, SlicecacheError
from cache_schema.common.strict import Strict
from cache_schema.common.text.tables import read_rows
from cache_schema.format.identity import VolumeKey, twins


class JoinSpec(Strict):
    """How rows of the table find volumes of the store."""

    participant: str = "participant_id"
    session: str | None = None
    """Column of the session; by default `session_id` where the table has it."""
    strip_prefix: Annotated[tuple[str, ...], BeforeValidator(read_many)] = ()
    """Taken off participant ids on both sides; `sub-` (and `ses-` off sessions) always is."""
    visits: Annotated[dict[str, Label], BeforeValidator(read_text_keys)] = Field(default_factory=dict)
    """Session code of the table -> session of the store, e.g. `{bl: "01", m06: "02"}`."""
    order: str | None = None
    """Column that orders the sessions of a participant (age, days, an ISO date); by default they are
    in natural order of the session id, in which `ses-2` comes before `ses-10`."""


Pair = tuple[str, str]
"""Participant and session, as they are compared; the session is empty where it plays no part."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A volume, or a row of the table, that does not take part, and why in plain words."""

    participant_id: str
    session_id: str
    volume_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class CohortTable:
    """The cohort file: the same rows as text and with typed columns."""

    path: Path
    text: pd.DataFrame
    """Every cell as it was written, stripped."""
    typed: pd.DataFrame
    """Numbers as float64, text as object, missing values as NaN."""

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
        return CohortTable(
            self.path, self.text[keep].reset_index(drop=True), self.typed[keep].reset_index(drop=True)
        )


def read_table(path: Path, missing: Sequence[str] = ()) -> CohortTable:
    """Read a CSV or TSV; the separator is the one that the header line has most of.

    Args:
        path: UTF-8, with a header line; separated by tabs, commas or semicolons.
        missing: Codes that mean missing in every column, besides empty cells, n/a and NaN.

    Raises:
        SlicecacheError: If it cannot be read, is empty, has ragged rows or two columns of one name.
    """
    lines = read_rows(path, f"the cohort table {str(path)!r}", "\t,;")
    if len(lines) < 2:
        raise SlicecacheError(f"the cohort table {str(path)!r} has no rows")
    names = _header(lines[0][1], path)
    for number, line in lines[1:]:
        if len(line) != len(names):
            raise SlicecacheError(
                f"line {number} of {str(path)!r} has {len(line)} cells, its header has {len(names)}"
            )
    columns = {name: [line[i] for _, line in lines[1:]] for i, name in enumerate(names)}
    text = pd.DataFrame({name: pd.Series(cells, dtype="object") for name, cells in columns.items()})
    numbers = pd.DataFrame({name: typed(cells, missing) for name, cells in columns.items()})
    return CohortTable(path, text, numbers)


def _header(names: list[str], path: Path) -> list[str]:
    """Column names; an unnamed one (an exported row number) is called by its place."""
    named = [name or f"column_{i + 1}" for i, name in enumerate(names)]
    twice = sorted({name for name in named if named.count(name) > 1})
    if twice:
        raise SlicecacheError(f"{str(path)!r} has more than one column {listed(twice)}")
    return named


def bare(name: str, prefixes: Sequence[str]) -> str:
    """An id without its prefixes, each taken off at most once, in the order given."""
    for prefix in prefixes:
        name = name.removeprefix(prefix)
    return name


@dataclass(frozen=True, slots=True)
class Join:
    """The rule that turns rows and volumes into pairs that can be compared."""

    spec: JoinSpec
    session: str | None
    """Column of the session, or None when the join is on the participant alone."""

    def participant(self, name: str) -> str:
        """A participant's id as it is compared."""
        return bare(name, [*self.spec.strip_prefix, "sub-"])

    def of_key(self, key: VolumeKey) -> Pair:
        """A volume's pair."""
        return self.participant(key.participant_id), bare(key.session_id, ["ses-"]) if self.session else ""

    def of_row(self, participant: str, session: str) -> Pair:
        """A row's pair, its visit code translated."""
        if not self.session:
            return self.participant(participant), ""
        return self.participant(participant), bare(self.spec.visits.get(session, session), ["ses-"])

    def of_table(self, table: CohortTable) -> list[Pair]:
        """Every row's pair.

        Raises:
            SlicecacheError: If two rows have the same one, two ids are one to the eye, or a row has no
                participant.
        """
        people = list(table.text[self.spec.participant])
        visits = list(table.text[self.session]) if self.session else [""] * len(people)
        if "" in people:
            raise SlicecacheError(
                f"{table.path.name}: {people.count('')} rows have no {self.spec.participant!r}"
            )
        _refuse_twins(people, table)
        pairs = [self.of_row(person, visit) for person, visit in zip(people, visits, strict=True)]
        _refuse_duplicates(pairs, people, visits, self, table)
        return pairs


def make_join(spec: JoinSpec, table: CohortTable, keys: Sequence[VolumeKey]) -> Join:
    """Decide the columns of the join.

    A store whose volumes have no sessions is joined on the participant, whatever the table has.

    Raises:
        ConfigError: If a column does not exist.
        SlicecacheError: If two participants of the store have the same id without prefixes.
    """
    table.require(spec.participant, "join.participant")
    session = spec.session
    if session is not None:
        table.require(session, "join.session")
    elif "session_id" in table.text.columns:
        session = "session_id"
    join = Join(spec, session if any(key.session_id for key in keys) else None)
    names: dict[str, str] = {}
    for key in keys:
        other = names.setdefault(join.participant(key.participant_id), key.participant_id)
        if other != key.participant_id:
            raise SlicecacheError(
                f"the store's participants {other!r} and {key.participant_id!r} have the same id without "
                "prefixes, so the table cannot tell them apart"
            )
    return join


def _refuse_duplicates(
    pairs: Sequence[Pair], people: Sequence[str], visits: Sequence[str], join: Join, table: CohortTable
) -> None:
    first: dict[Pair, int] = {}
    twice: dict[str, None] = {}
    for row, pair in enumerate(pairs):
        if first.setdefault(pair, row) != row:
            twice[" ".join(part for part in (people[row], visits[row]) if part)] = None
    if not twice:
        return
    advice = (
        "keep one row for each"
        if join.session
        else "keep one row for each, name the session column (join: {session: COLUMN}), or choose with where"
    )
    raise SlicecacheError(
        f"{table.path.name} has more than one row for {listed(list(twice))}; which one holds is not clear: "
        f"{advice}"
    )


def _refuse_twins(people: Sequence[str], table: CohortTable) -> None:
    found = twins(people)
    if found:
        groups = listed([" and ".join(map(repr, group)) for group in found], 3)
        raise SlicecacheError(
            f"{table.path.name} has ids that differ only in case or in characters that cannot be seen: "
            f"{groups}; write each participant one way"
        )


def refuse_no_match(
    pairs: Sequence[Pair], volumes: Sequence[Pair], table: CohortTable, join: Join, lookalikes: str
) -> None:
    """Say how both sides look when nothing matched.

    Raises:
        SlicecacheError: Always, with examples of both sides.
    """

    def examples(items: Sequence[Pair]) -> str:
        unique = list(dict.fromkeys(" ".join(part for part in item if part) for item in items))
        return listed(unique, 3) or "nothing"

    on = f"{join.spec.participant}, {join.session}" if join.session else join.spec.participant
    raise SlicecacheError(
        f"no volume of the store matches a row of {table.path.name} (joined on {on}): the table has "
        f"{examples(pairs)}; the store has {examples(volumes)}; "
        + (lookalikes or "join: can rename columns, strip prefixes and map visits")
    )
