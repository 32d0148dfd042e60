"""Volumes on their way into a cohort: joined to rows of the table, narrowed, and grouped into bags.

Narrowing goes in the order `where`, join, what the caller asks, `select`, `sessions`, `run`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from aggregate.cohort.lookalikes import lookalikes_of
from aggregate.cohort.request import CohortRequest
from aggregate.cohort.select import choose_runs, make_bags, mismatch
from aggregate.cohort.table.join import CohortTable, Join, LeftOut, Pair, refuse_no_match
from aggregate.cohort.table.sessions import Visit, choose_sessions
from aggregate.cohort.table.where import where
from aggregate.cohort.turnout import Turnout, shortfall_of, turnout_of
from aggregate.common.table_values import natural
from cache_schema.common.errors import SlicecacheError
from cache_schema.format.identity import VolumeKey
from cache_schema.format.record import VolumeRecord
from cache_schema.store.reader import StoreReader, VolumeEntry
from cache_schema.store.reading.records import Picked

ALONE = "in the store, not in the table"
ROW_ALONE = "in the table, not in the store"


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


def apply_where(
    request: CohortRequest, table: CohortTable, join: Join
) -> tuple[CohortTable, dict[Pair, str]]:
    """Rows that satisfy `where`, and the pairs of those that do not, with the reason."""
    if request.where is None:
        return table, {}
    keep, unknown = where(request.where, table.typed)
    people = table.text[request.join.participant]
    visits = table.text[join.session] if join.session else [""] * len(people)
    reasons = {}
    for person, visit, kept, open_ in zip(people, visits, keep, unknown, strict=True):
        if not kept:
            reasons[join.of_row(person, visit)] = "left out by where" + (" (value missing)" if open_ else "")
    if not keep.any():
        raise SlicecacheError(f"where: {request.where!r} leaves no row of {table.path.name}")
    return table.rows(keep), reasons


def match(
    store: StoreReader, join: Join, pairs: Sequence[Pair], dropped: dict[Pair, str], table: CohortTable
) -> Narrowing:
    """Every committed volume with its row of the table."""
    row_of = {pair: row for row, pair in enumerate(pairs)}
    found = [join.of_key(entry.key) for entry in store.entries]
    rows = [row_of.get(pair, -1) for pair in found]
    absent = [dropped.get(pair, ALONE) for pair in found]
    reasons = ["" if row >= 0 else reason for row, reason in zip(rows, absent, strict=True)]
    if all(reasons) and not any(pair in dropped for pair in found):
        refuse_no_match(pairs, found, table, join, lookalikes_of(found, pairs, table.path.name))
    return Narrowing(store.entries, store.records(), rows, reasons)


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
    reasons = choose_sessions(request.sessions, visits, table, request.join, join.session is not None)
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
    alone = [row for row, pair in enumerate(pairs) if pair not in here]
    visits = table.text[join.session] if join.session else None
    people = table.text[join.spec.participant]
    rows = [
        LeftOut(str(people.iloc[row]), "" if visits is None else str(visits.iloc[row]), "", ROW_ALONE)
        for row in alone
    ]
    lost = [join.of_key(volumes.entries[i].key) for i, why in enumerate(volumes.reasons) if why == ALONE]
    alike = lookalikes_of(lost, [pairs[row] for row in alone], table.path.name)
    return turnout_of(store, join, used, [*volumes.left_out(), *rows], shortfall, alike)
