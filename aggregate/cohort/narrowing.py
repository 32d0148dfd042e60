"""Volumes on their way into a cohort: joined to rows of the table, narrowed, and grouped into bags.

Narrowing goes in the order `where`, join, what the caller asks, `select`, `sessions`, `run`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from aggregate.cohort.join import Join, LeftOut, Pair, Table, refuse_no_match
from aggregate.cohort.request import CohortRequest
from aggregate.cohort.select import choose_runs, make_bags, mismatch
from aggregate.cohort.sessions import Visit, choose_sessions
from aggregate.cohort.where import where
from aggregate.common.table_values import natural
from cache_schema.common.errors import SlicecacheError
from cache_schema.format.identity import VolumeKey
from cache_schema.format.record import VolumeRecord
from cache_schema.store.reader import StoreReader, VolumeEntry


@dataclass(slots=True)
class JoinedVolume:
    """A committed volume with its row of the cohort table."""

    entry: VolumeEntry
    record: VolumeRecord
    row: int
    """Of the table; -1 where none matches."""
    reason: str = ""


def apply_where(request: CohortRequest, table: Table, join: Join) -> tuple[Table, dict[Pair, str]]:
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
    store: StoreReader, join: Join, pairs: Sequence[Pair], dropped: dict[Pair, str], table: Table
) -> list[JoinedVolume]:
    """Every committed volume with its row of the table."""
    row_of = {pair: row for row, pair in enumerate(pairs)}
    volumes = []
    for entry, record in zip(store.entries, store.records(), strict=True):
        pair = join.of_key(entry.key)
        row = row_of.get(pair, -1)
        reason = "" if row >= 0 else dropped.get(pair, "in the store, not in the table")
        volumes.append(JoinedVolume(entry, record, row, reason))
    if not alive(volumes) and not any(join.of_key(v.entry.key) in dropped for v in volumes):
        refuse_no_match(pairs, [join.of_key(v.entry.key) for v in volumes], table, join)
    return volumes


def alive(volumes: Sequence[JoinedVolume]) -> list[JoinedVolume]:
    """Those without a reason to be left out."""
    return [volume for volume in volumes if not volume.reason]


def narrow(
    request: CohortRequest, table: Table, join: Join, volumes: Sequence[JoinedVolume]
) -> list[JoinedVolume]:
    """Select volumes, then sessions, then runs; what falls out gets its reason."""
    for volume in alive(volumes):
        volume.reason = mismatch(request.select, volume.record)
    left = alive(volumes)
    visits = [Visit(v.entry.key.participant_id, v.entry.key.session_id, v.row) for v in left]
    reasons = choose_sessions(request.sessions, visits, table, request.join, join.session is not None)
    _set_reasons(left, reasons)
    left = alive(volumes)
    _set_reasons(left, choose_runs(request.select, [volume.record for volume in left]))
    return alive(volumes)


def choose(
    request: CohortRequest, table: Table, join: Join, volumes: Sequence[JoinedVolume]
) -> list[tuple[JoinedVolume, ...]]:
    """Narrow volumes and group what is left into bags."""
    left = narrow(request, table, join, volumes)
    grouped = make_bags([volume.record for volume in left], request.combine)
    bags = [tuple(left[index] for index in bag) for bag in grouped]
    return sorted(bags, key=lambda bag: _order(bag[0].entry.key))


def left_out_as(volume: JoinedVolume) -> LeftOut:
    """A volume as a row of what was left out."""
    key = volume.entry.key
    return LeftOut(key.participant_id, key.session_id, key.volume_id, volume.reason)


def _set_reasons(volumes: Sequence[JoinedVolume], reasons: Sequence[str]) -> None:
    for volume, reason in zip(volumes, reasons, strict=True):
        volume.reason = reason


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
