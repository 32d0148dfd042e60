"""Volumes on their way into a cohort: joined to rows of the table, narrowed, and grouped into bags.

Narrowing goes in the order `where`, join, what the caller asks, `select`, `sessions`, `run`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from aggregate.cohort.lookalikes import lookalikes_of
from aggregate.cohort.no_match import no_match
from aggregate.cohort.request import CohortRequest
from aggregate.cohort.select import choose_runs, make_bags, mismatch
from aggregate.cohort.table.cohort_table import CohortTable
from aggregate.cohort.table.join import ALONE, ROW_ALONE, Join, LeftOut, Pair
from aggregate.cohort.table.sessions import Visit, choose_sessions, session_order
from aggregate.cohort.table.stack import StackedSpec, read_tables
from aggregate.cohort.table.where import where
from aggregate.cohort.turnout import Turnout, shortfall_of, turnout_of
from aggregate.common.table_values import natural
from cache_schema.common.errors import SlicecacheError
from cache_schema.format.identity import VolumeKey
from cache_schema.format.record import VolumeRecord
from cache_schema.store.reader import StoreReader, VolumeEntry
from cache_schema.store.reading.records import Picked


@dataclass(frozen=True, slots=True)
class Narrowing:
    """The committed volumes of a store, each with its row of the cohort table and what speaks against it.

    Volumes are spoken of by their index in the store's order.
    """

    entries: Sequence[VolumeEntry]
    records: Sequence[VolumeRecord]
    rows: Sequence[int]
    """Of the table; -1 where none matches."""
    reasons: list[str]
    """Why a volume is left out; empty while nothing speaks against it."""

    def alive(self) -> list[int]:
        """Volumes that nothing speaks against."""
        return [index for index, reason in enumerate(self.reasons) if not reason]

    def leave_out(self, volumes: Sequence[int], reasons: Sequence[str]) -> None:
        """Give volumes their reasons; an empty one leaves a volume in."""
        for index, reason in zip(volumes, reasons, strict=True):
            self.reasons[index] = reason

    def left_out(self) -> list[LeftOut]:
        """Rows of what was left out."""
        return [
            LeftOut(entry.key.participant_id, entry.key.session_id, entry.key.volume_id, reason)
            for entry, reason in zip(self.entries, self.reasons, strict=True)
            if reason
        ]


def read_cohort_table(request: CohortRequest) -> CohortTable:
    """The table that was asked for, or several as one, renamed, with further tables beside it.

    Raises:
        ConfigError: If a column does not exist.
        SlicecacheError: If a table cannot be read or is ambiguous.
    """
    given = request.table
    specs = (StackedSpec(table=given),) if isinstance(given, Path) else given
    sheets = [each.model_copy(update={"sheet": each.sheet or request.sheet}) for each in specs]
    return read_tables(sheets, request.join, request.missing)


def apply_where(
    request: CohortRequest, table: CohortTable, join: Join
) -> tuple[CohortTable, dict[Pair, str]]:
    """Rows that are clear and satisfy `where`, and the pairs of those that do not, with the reason."""
    why = np.array(table.unclear or [""] * len(table.text), dtype=object)
    if request.where is not None:
        keep, unknown = where(request.where, table.typed)
        why[~keep & ~unknown & (why == "")] = "left out by where"
        why[unknown & (why == "")] = "left out by where (value missing)"
    people = table.text[request.join.participant]
    visits = table.text[join.session] if join.session else [""] * len(people)
    reasons = {
        join.of_row(person, visit): reason
        for person, visit, reason in zip(people, visits, why, strict=True)
        if reason
    }
    kept = np.asarray(why == "", dtype=np.bool_)
    if not kept.any():
        raise SlicecacheError(
            f"where: {request.where!r} leaves no row of {table.path.name}"
            if request.where is not None
            else f"no row of {table.path.name} is clear: {why[0]}"
        )
    return table.rows(kept), reasons


def match(
    store: StoreReader, join: Join, pairs: Sequence[Pair], dropped: dict[Pair, str], table: CohortTable
) -> Narrowing:
    """Every committed volume with its row of the table.

    Raises:
        SlicecacheError: If nothing matches.
    """
    rows, reasons = rows_of([entry.key for entry in store.entries], join, pairs, dropped, table)
    return Narrowing(store.entries, store.records(), rows, reasons)


def rows_of(
    keys: Sequence[VolumeKey],
    join: Join,
    pairs: Sequence[Pair],
    dropped: dict[Pair, str],
    table: CohortTable,
) -> tuple[list[int], list[str]]:
    """The row of every volume, -1 where there is none, and the reason for that.

    Raises:
        SlicecacheError: If nothing matches.
    """
    rows, reasons = join.rows_of(keys, table, pairs, dropped)
    if all(reason == ALONE for reason in reasons):
        raise SlicecacheError(no_match(keys, pairs, table, join))
    return rows, reasons


def narrow(request: CohortRequest, table: CohortTable, join: Join, volumes: Narrowing) -> list[int]:
    """Select volumes, then sessions, then runs; what falls out gets its reason."""
    left = volumes.alive()
    volumes.leave_out(left, [mismatch(request.select, volumes.records[index]) for index in left])
    left = volumes.alive()
    keys = [volumes.entries[index].key for index in left]
    visits = [
        Visit(key.participant_id, key.session_id, volumes.rows[index])
        for key, index in zip(keys, left, strict=True)
    ]
    ordered = request.sessions in ("first", "last")
    order = session_order(visits, keys, table, join) if ordered else None
    by_session = join.session is not None or join.spec.nearest is not None
    reasons = choose_sessions(request.sessions, visits, table, by_session, order)
    volumes.leave_out(left, reasons)
    left = volumes.alive()
    volumes.leave_out(left, choose_runs(request.select, Picked(volumes.records, left)))
    return volumes.alive()


def choose_bags(
    request: CohortRequest, table: CohortTable, join: Join, volumes: Narrowing
) -> list[tuple[int, ...]]:
    """Narrow volumes and group what is left into bags."""
    left = narrow(request, table, join, volumes)
    grouped = make_bags(Picked(volumes.records, left), request.combine)
    bags = [tuple(left[place] for place in bag) for bag in grouped]
    return sorted(bags, key=lambda bag: _order(volumes.entries[bag[0]].key))


def _order(key: VolumeKey) -> tuple[object, ...]:
    return natural(key.participant_id), natural(key.session_id), natural(key.volume_id)


def take_turnout(
    store: StoreReader,
    join: Join,
    table: CohortTable,
    pairs: Sequence[Pair],
    volumes: Narrowing,
    used: Iterable[str],
) -> Turnout:
    """Everybody who is left out on the way, and what store and table have that the other has not.

    Args:
        store: Open.
        join: Of the table's rows with the store's volumes.
        table: As narrowed by `where`.
        pairs: Of its rows.
        volumes: Narrowed.
        used: Participants of what is left.
    """
    shortfall = shortfall_of(store)
    here = {join.of_key(entry.key) for entry in store.entries}
    missing = shortfall.missing
    here |= {join.of_key(VolumeKey(item.participant_id, item.session_id, "")) for item in missing}
    matched = set(volumes.rows)
    alone = [row for row, pair in enumerate(pairs) if pair not in here]
    visits = table.text[join.session] if join.session else None
    people = table.text[join.spec.participant]
    rows = [
        LeftOut(str(people.iloc[row]), "" if visits is None else str(visits.iloc[row]), "", ROW_ALONE)
        for row in alone
    ]
    if join.spec.nearest is not None:
        rows += [
            LeftOut(str(people.iloc[row]), "", "", "nearest to no session")
            for row, pair in enumerate(pairs)
            if pair in here and row not in matched
        ]
    lost = [join.of_key(volumes.entries[i].key) for i, why in enumerate(volumes.reasons) if why == ALONE]
    alike = lookalikes_of(lost, [pairs[row] for row in alone], table.path.name)
    left_out = [*volumes.left_out(), *rows]
    return turnout_of(store, join, used, left_out, shortfall, alike, table.merged)
