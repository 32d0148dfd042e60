"""The cohort: which volumes of the store take part, each with its label, and who was left out and why.

Volumes and rows are narrowed in this order: `where`, join, target, split, `select`, `sessions`,
`run`. What falls out on the way is listed with the first reason that applied.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aggregate.cohort.acquisition import acquisition_row
from aggregate.cohort.checks import mixed_contrasts, mixed_foregrounds, refuse_empty_class, refuse_torn
from aggregate.cohort.join import Join, LeftOut, Pair, Table, make_join, read_table, refuse_no_match
from aggregate.cohort.select import Volume, choose_runs, make_bags, mismatch
from aggregate.cohort.sessions import Visit, choose_sessions
from aggregate.cohort.split import Side, read_split
from aggregate.cohort.target import Target, read_target
from aggregate.cohort.where import where
from aggregate.config import AggregateSection
from aggregate.values import natural
from cache_schema.errors import SlicecacheError
from cache_schema.identity import VolumeKey
from cache_schema.reader import StoreReader, VolumeEntry
from cache_schema.record import VolumeRecord

RESERVED = ("participant_id", "session_id", "volume_id", "y", "weight")


@dataclass(frozen=True, slots=True)
class Cohort:
    """Bags with their labels, in order of participant and session."""

    frame: pd.DataFrame
    """One row per bag: participant_id, session_id, volume_id, y (class index), weight (1 / bags of the
    participant), the table's columns, the acquisition; a column of the table whose name is taken is
    called `NAME (table)`."""
    entries: tuple[VolumeEntry, ...]
    """Volumes in the order of the bags; as many as bags unless volumes were concatenated."""
    classes: tuple[str, ...]
    """Label names; of two the positive one is last."""
    left_out: tuple[LeftOut, ...]
    bag: NDArray[np.int64]
    """The bag of every entry (entry,)."""
    records: tuple[VolumeRecord, ...]
    """Of the entries, in their order."""
    table: pd.DataFrame
    """The table's columns alone, typed, one row per bag."""
    acquisition: pd.DataFrame
    """What the records say of the acquisition, one row per bag."""
    target: str
    """The target's column."""
    sides: tuple[Side, ...] | None = None
    """The given split's side of every bag."""
    notes: tuple[str, ...] = ()
    """What a reader of the results should know: the positive class, mixed contrasts."""
    warnings: tuple[str, ...] = ()
    """What makes the results doubtful: mixed foreground kinds."""

    @property
    def y(self) -> NDArray[np.int64]:
        """Class index (bag,)."""
        return self.frame["y"].to_numpy(dtype=np.int64)

    @property
    def weight(self) -> NDArray[np.float64]:
        """1 / bags of the participant (bag,)."""
        return self.frame["weight"].to_numpy(dtype=np.float64)

    @property
    def participants(self) -> NDArray[np.str_]:
        """Participant of every bag (bag,)."""
        return np.asarray(self.frame["participant_id"].tolist(), dtype=np.str_)

    @property
    def task(self) -> str:
        """`binary` or `multiclass`."""
        return "binary" if len(self.classes) == 2 else "multiclass"

    def n_participants(self) -> int:
        """How many participants take part."""
        return len(np.unique(self.participants))


@dataclass(slots=True)
class Draft:
    """One volume on its way into the cohort."""

    entry: VolumeEntry
    record: VolumeRecord
    row: int
    """Of the table; -1 where none matches."""
    reason: str = ""


def load_cohort(section: AggregateSection, store: StoreReader, base: Path) -> Cohort:
    """Join the table to the store and decide who takes part.

    Args:
        section: What the user asked for.
        store: The open store.
        base: Folder that the table's path is relative to.

    Raises:
        ConfigError: If a column, class or condition of the section does not exist or cannot be meant.
        SlicecacheError: If the table cannot be read or is ambiguous, nothing matches, or fewer than two
            classes are left.
    """
    if not store.entries:
        raise SlicecacheError(f"the store {store.location} holds no committed volume yet; run extract first")
    whole = read_table(base / section.cohort.expanduser(), section.missing)
    join = make_join(section.join, whole, [entry.key for entry in store.entries])
    table, dropped = _apply_where(section, whole, join)
    pairs = join.of_table(table)
    target = read_target(section.target, table, section.missing)
    sides = read_split(section.split, table, [p for p, _ in pairs]) if section.split else None
    drafts = _match(store, join, pairs, dropped, table)
    for draft in _alive(drafts):
        draft.reason = target.reasons[draft.row]
        if not draft.reason and sides is not None and sides[draft.row] is None:
            draft.reason = "split missing"
    bags = _choose(section, table, join, drafts)
    left_out = [_left_out(d) for d in drafts if d.reason]
    left_out += _rows_without_volume(store, join, table, pairs)
    return _assemble(section, table, target, sides, bags, tuple(left_out))


def _apply_where(section: AggregateSection, table: Table, join: Join) -> tuple[Table, dict[Pair, str]]:
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


def _match(
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
    if not _alive(drafts) and not any(join.of_key(d.entry.key) in dropped for d in drafts):
        refuse_no_match(pairs, [join.of_key(d.entry.key) for d in drafts], table, join)
    return drafts


def _alive(drafts: Sequence[Draft]) -> list[Draft]:
    return [draft for draft in drafts if not draft.reason]


def _choose(
    section: AggregateSection, table: Table, join: Join, drafts: Sequence[Draft]
) -> list[tuple[Draft, ...]]:
    """Select volumes, then sessions, then runs, and group what is left into bags."""
    for draft in _alive(drafts):
        draft.reason = mismatch(section.select, draft.record)
    alive = _alive(drafts)
    visits = [Visit(d.entry.key.participant_id, d.entry.key.session_id, d.row) for d in alive]
    reasons = choose_sessions(section.sessions, visits, table, section.join, join.session is not None)
    _set_reasons(alive, reasons)
    alive = _alive(drafts)
    volumes = [
        Volume(i, d.entry.key.participant_id, d.entry.key.session_id, d.record) for i, d in enumerate(alive)
    ]
    reasons = choose_runs(section.select, volumes)
    _set_reasons(alive, reasons)
    kept = [volume for volume, reason in zip(volumes, reasons, strict=True) if not reason]
    bags = [tuple(alive[v.index] for v in bag) for bag in make_bags(kept, section.combine)]
    return sorted(bags, key=lambda bag: _order(bag[0].entry.key))


def _left_out(draft: Draft) -> LeftOut:
    key = draft.entry.key
    return LeftOut(key.participant_id, key.session_id, key.volume_id, draft.reason)


def _set_reasons(drafts: Sequence[Draft], reasons: Sequence[str]) -> None:
    for draft, reason in zip(drafts, reasons, strict=True):
        draft.reason = reason


def _order(key: VolumeKey) -> tuple[object, ...]:
    return natural(key.participant_id), natural(key.session_id), natural(key.volume_id)


def _rows_without_volume(
    store: StoreReader, join: Join, table: Table, pairs: Sequence[Pair]
) -> list[LeftOut]:
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


def _assemble(
    section: AggregateSection,
    table: Table,
    target: Target,
    sides: Sequence[Side | None] | None,
    bags: Sequence[tuple[Draft, ...]],
    left_out: tuple[LeftOut, ...],
) -> Cohort:
    """Build the frame and check what is left."""
    rows = np.array([bag[0].row for bag in bags], dtype=np.int64)
    labels = [target.labels[row] for row in rows]
    y = np.array([-1 if label is None else label for label in labels], dtype=np.int64)
    refuse_empty_class(y, target.classes, section.target.column, left_out)
    participants = [bag[0].entry.key.participant_id for bag in bags]
    refuse_torn(participants, y)
    count: dict[str, int] = {}
    for participant in participants:
        count[participant] = count.get(participant, 0) + 1
    own = table.typed.iloc[rows].reset_index(drop=True)
    acquisition = pd.DataFrame([acquisition_row([d.record for d in bag]) for bag in bags])
    fixed = pd.DataFrame(
        {
            "participant_id": participants,
            "session_id": [bag[0].entry.key.session_id for bag in bags],
            "volume_id": ["+".join(d.entry.key.volume_id for d in bag) for bag in bags],
            "y": y,
            "weight": [1 / count[participant] for participant in participants],
        }
    )
    taken = {*RESERVED, *acquisition.columns}
    renamed = own.rename(columns={name: f"{name} (table)" for name in own.columns if name in taken})
    drafts = [(index, draft) for index, bag in enumerate(bags) for draft in bag]
    records = tuple(draft.record for _, draft in drafts)
    split = None if sides is None else tuple(side for r in rows if (side := sides[r]) is not None)
    return Cohort(
        frame=pd.concat([fixed, renamed, acquisition], axis=1),
        entries=tuple(draft.entry for _, draft in drafts),
        classes=target.classes,
        left_out=left_out,
        bag=np.array([index for index, _ in drafts], dtype=np.int64),
        records=records,
        table=own,
        acquisition=acquisition,
        target=section.target.column,
        sides=split,
        notes=target.notes + mixed_contrasts(records, section.combine is not None),
        warnings=mixed_foregrounds(records),
    )


def permute_labels(cohort: Cohort, seed: int) -> Cohort:
    """The cohort with labels permuted between participants; sessions of one participant stay together.

    Args:
        cohort: The cohort.
        seed: Of the permutation; equal seeds give equal permutations.
    """
    _, first, inverse = np.unique(cohort.participants, return_index=True, return_inverse=True)
    generator = np.random.Generator(np.random.PCG64(seed))
    shuffled = generator.permutation(cohort.y[first])
    return replace(cohort, frame=cohort.frame.assign(y=shuffled[inverse]))
