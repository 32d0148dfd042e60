"""Volumes on their way into a cohort: joined to rows of the table, narrowed, and grouped into bags.

Narrowing goes in the order `where`, join, what the caller asks, `select`, `sessions`, `run`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from aggregate.cohort.join import Join, LeftOut, Pair, Table, refuse_no_match
from aggregate.cohort.select import Volume, choose_runs, make_bags, mismatch
from aggregate.cohort.sessions import Visit, choose_sessions
from aggregate.cohort.spec import JoinSpec, SelectSpec
from aggregate.cohort.where import where
from aggregate.common.table_values import natural
from cache_schema.common.errors import SlicecacheError
from cache_schema.format.identity import VolumeKey
from cache_schema.format.record import VolumeRecord
from cache_schema.store.reader import StoreReader, VolumeEntry


class Narrowing(Protocol):
    """Whatever says how a table is joined to a store and narrowed."""

    @property
    def where(self) -> str | None:
        """Condition on the table's columns."""

    @property
    def join(self) -> JoinSpec:
        """How rows find volumes."""

    @property
    def select(self) -> SelectSpec:
        """Which volumes of a session."""

    @property
    def sessions(self) -> str:
        """Which sessions."""


class Grouping(Narrowing, Protocol):
    """Whatever says besides how volumes become bags."""

    @property
    def combine(self) -> Literal["concat", "mean"] | None:
        """Several volumes in a session."""


@dataclass(slots=True)
class Draft:
    """One volume on its way into the cohort."""

    entry: VolumeEntry
    record: VolumeRecord
    row: int
    """Of the table; -1 where none matches."""
    reason: str = ""


def apply_where(section: Narrowing, table: Table, join: Join) -> tuple[Table, dict[Pair, str]]:
    """Rows that satisfy `where`, and the pairs of those that do not, with the reason."""
    if section.where is None:
        return table, {}
    keep, unknown = where(section.where, table.typed)
    people = table.text[section.join.participant]
    visits = table.text[join.session] if join.session else [""] * len(people)
    reasons = {}
    for person, visit, kept, open_ in zip(people, visits, keep, unknown, strict=True):
        if not kept:
            reasons[join.of_row(person, visit)] = "left out by where" + (" (value missing)" if open_ else "")
    if not keep.any():
        raise SlicecacheError(f"where: {section.where!r} leaves no row of {table.path.name}")
    return table.rows(keep), reasons


def match(
    store: StoreReader, join: Join, pairs: Sequence[Pair], dropped: dict[Pair, str], table: Table
) -> list[Draft]:
    """Every committed volume with its row of the table."""
    row_of = {pair: row for row, pair in enumerate(pairs)}
    drafts = []
    for entry, record in zip(store.entries, store.records(), strict=True):
        pair = join.of_key(entry.key)
        row = row_of.get(pair, -1)
        reason = "" if row >= 0 else dropped.get(pair, "in the store, not in the table")
        drafts.append(Draft(entry, record, row, reason))
    if not alive(drafts) and not any(join.of_key(d.entry.key) in dropped for d in drafts):
        refuse_no_match(pairs, [join.of_key(d.entry.key) for d in drafts], table, join)
    return drafts


def alive(drafts: Sequence[Draft]) -> list[Draft]:
    """Those without a reason to be left out."""
    return [draft for draft in drafts if not draft.reason]


def narrow(section: Narrowing, table: Table, join: Join, drafts: Sequence[Draft]) -> list[Draft]:
    """Select volumes, then sessions, then runs; what falls out gets its reason."""
    for draft in alive(drafts):
        draft.reason = mismatch(section.select, draft.record)
    left = alive(drafts)
    visits = [Visit(d.entry.key.participant_id, d.entry.key.session_id, d.row) for d in left]
    reasons = choose_sessions(section.sessions, visits, table, section.join, join.session is not None)
    _set_reasons(left, reasons)
    left = alive(drafts)
    _set_reasons(left, choose_runs(section.select, _volumes(left)))
    return alive(drafts)


def choose(section: Grouping, table: Table, join: Join, drafts: Sequence[Draft]) -> list[tuple[Draft, ...]]:
    """Narrow volumes and group what is left into bags."""
    left = narrow(section, table, join, drafts)
    bags = [tuple(left[v.index] for v in bag) for bag in make_bags(_volumes(left), section.combine)]
    return sorted(bags, key=lambda bag: _order(bag[0].entry.key))


def _volumes(drafts: Sequence[Draft]) -> list[Volume]:
    """Drafts as what runs and bags are chosen of."""
    return [
        Volume(i, d.entry.key.participant_id, d.entry.key.session_id, d.record) for i, d in enumerate(drafts)
    ]


def left_out_as(draft: Draft) -> LeftOut:
    """A draft as a row of what was left out."""
    key = draft.entry.key
    return LeftOut(key.participant_id, key.session_id, key.volume_id, draft.reason)


def _set_reasons(drafts: Sequence[Draft], reasons: Sequence[str]) -> None:
    for draft, reason in zip(drafts, reasons, strict=True):
        draft.reason = reason


def _order(key: VolumeKey) -> tuple[object, ...]:
    return natural(key.participant_id), natural(key.session_id), natural(key.volume_id)


def rows_without_volume(store: StoreReader, join: Join, table: Table, pairs: Sequence[Pair]) -> list[LeftOut]:
    """Rows that no committed volume belongs to; a failed extraction is said to be one."""
    present = {join.of_key(entry.key) for entry in store.entries}
    failed = {join.of_key(failure.key): failure.reason for failure in store.failures()}
    out = []
    for row, pair in enumerate(pairs):
        if pair in present:
            continue
        visit = table.text[join.session].iloc[row] if join.session else ""
        reason = "in the table, not in the store"
        if pair in failed:
            reason += f" (extraction failed: {failed[pair]})"
        out.append(LeftOut(str(table.text[join.spec.participant].iloc[row]), str(visit), "", reason))
    return out
