"""The cohort: which volumes of the store take part, each with its label, and who was left out and why.

Volumes and rows are narrowed in this order: `where`, join, target, split, `select`, `sessions`,
`run`. What falls out on the way is listed with the first reason that applied.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aggregate.cohort.acquisition import acquisition_row
from aggregate.cohort.arithmetic import ARITHMETIC, arithmetic_of, mixed_numerics
from aggregate.cohort.checks import (
    mixed_contrasts,
    mixed_foregrounds,
    uneven_sessions,
)
from aggregate.cohort.narrowing import (
    Narrowing,
    apply_where,
    choose_bags,
    match,
    read_cohort_table,
    take_turnout,
)
from aggregate.cohort.request import CohortRequest, Combine
from aggregate.cohort.select import SelectSpec
from aggregate.cohort.table.cohort_table import CohortTable
from aggregate.cohort.table.join import LeftOut, make_join
from aggregate.cohort.table.split import Side, read_split
from aggregate.cohort.task import Outcomes, Target, Task
from aggregate.cohort.turnout import Turnout
from aggregate.common.arrays import Floats
from cache_schema.common.errors import ConfigError, SlicecacheError
from cache_schema.format.header import Header
from cache_schema.format.record import VolumeRecord
from cache_schema.store.reader import StoreReader, VolumeEntry
from cache_schema.store.reading.records import Picked

RESERVED_COLUMNS = ("participant_id", "session_id", "volume_id", "y", "weight")


@dataclass(frozen=True, slots=True)
class Cohort:
    """Bags with their labels, in order of participant and session."""

    frame: pd.DataFrame
    """One row per bag: participant_id, session_id, volume_id, y (class index, or the stratum of a target that
    has no classes), weight (1 / bags of the participant), the table's columns, the acquisition; a column of
    the table whose name is taken is called `NAME (table)`."""
    entries: tuple[VolumeEntry, ...]
    """Volumes in the order of the bags; as many as bags unless volumes were concatenated."""
    classes: tuple[str, ...]
    """Label names, of two the positive one last; or names of the strata that folds are dealt by."""
    turnout: Turnout
    """Who is used of whom store and table know, and why the others are not."""
    bag: NDArray[np.int64]
    """The bag of every entry (entry,)."""
    records: Sequence[VolumeRecord]
    """Of the entries, in their order."""
    table: pd.DataFrame
    """The table's columns alone, typed, one row per bag."""
    acquisition: pd.DataFrame
    """What the records say of the acquisition, one row per bag."""
    target: str
    """The target's column."""
    kind: Task
    """What kind of target it is."""
    values: Floats
    """Its values (bag, number): the class index, or what the kind of target has."""
    sides: tuple[Side, ...] | None = None
    """The given split's side of every bag."""
    notes: tuple[str, ...] = ()
    """What a reader of the results should know: the positive class, mixed contrasts."""
    warnings: tuple[str, ...] = ()
    """What makes the results doubtful: mixed foreground kinds, a part of a store, ids that look alike."""
    select: SelectSpec = field(default_factory=SelectSpec)
    """Which volumes of a session take part."""
    combine: Combine | None = None
    """What several volumes of a session are to each other."""

    @property
    def left_out(self) -> tuple[LeftOut, ...]:
        """Volumes and rows that take no part."""
        return self.turnout.left_out

    @property
    def y(self) -> NDArray[np.int64]:
        """Class index, or the stratum of a target without classes (bag,)."""
        return self.frame["y"].to_numpy(dtype=np.int64)

    @property
    def outcomes(self) -> Outcomes:
        """What is predicted of every bag, as training and metrics take it."""
        return self.kind.outcomes(self.values)

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
        """`binary`, `multiclass`, or another kind of target."""
        return self.kind.name

    def n_participants(self) -> int:
        """How many participants take part."""
        return len(np.unique(self.participants))


def load_cohort(request: CohortRequest, store: StoreReader) -> Cohort:
    """Join the table to the store and decide who takes part.

    Args:
        request: What is asked for, with a target.
        store: The open store.

    Raises:
        ConfigError: If a column, class or condition does not exist or cannot be meant.
        SlicecacheError: If the table cannot be read or is ambiguous, nothing matches, or fewer than two
            classes are left.
    """
    if not store.entries:
        raise SlicecacheError(f"the store {store.location} holds no committed volume yet; run extract first")
    whole = read_cohort_table(request)
    join = make_join(request.join, whole, [entry.key for entry in store.entries])
    table, dropped = apply_where(request, whole, join)
    pairs = join.of_table(table)
    if request.target is None:
        raise ConfigError("a cohort with labels needs a target, e.g. target: {column: diagnosis}")
    target = request.target.read(table, request.missing)
    sides = read_split(request.split, table, [p for p, _ in pairs]) if request.split else None
    volumes = match(store, join, pairs, dropped, table)
    left = volumes.alive()
    volumes.leave_out(left, [target.reasons[volumes.rows[index]] for index in left])
    if sides is not None:
        left = volumes.alive()
        unsaid = [sides[volumes.rows[index]] is None for index in left]
        volumes.leave_out(left, ["split missing" * gone for gone in unsaid])
    bags = choose_bags(request, table, join, volumes)
    used = [volumes.entries[index].key.participant_id for bag in bags for index in bag]
    turnout = take_turnout(store, join, table, pairs, volumes, used)
    return _assemble(request, table, target, sides, volumes, bags, turnout, store.header)


def _assemble(
    request: CohortRequest,
    table: CohortTable,
    target: Target,
    sides: Sequence[Side | None] | None,
    volumes: Narrowing,
    bags: Sequence[tuple[int, ...]],
    turnout: Turnout,
    header: Header,
) -> Cohort:
    """Build the frame and check what is left."""
    rows = np.array([volumes.rows[bag[0]] for bag in bags], dtype=np.int64)
    values = target.values[rows]
    keys = [[volumes.entries[index].key for index in bag] for bag in bags]
    participants = [own[0].participant_id for own in keys]
    target.task.check(values, participants, target.column, turnout.left_out)
    of_bag = np.unique(participants, return_inverse=True)[1].astype(np.int64)
    y, names = target.task.stratify(values, of_bag)
    count: dict[str, int] = {}
    for participant in participants:
        count[participant] = count.get(participant, 0) + 1
    columns = table.typed.iloc[rows].reset_index(drop=True)
    acquisition = pd.DataFrame([acquisition_row([volumes.records[index] for index in bag]) for bag in bags])
    if header.other_numerics:
        acquisition[ARITHMETIC] = arithmetic_of([volumes.records[bag[0]] for bag in bags], header)
    fixed = pd.DataFrame(
        {
            "participant_id": participants,
            "session_id": [own[0].session_id for own in keys],
            "volume_id": ["+".join(key.volume_id for key in own) for own in keys],
            "y": y,
            "weight": [1 / count[participant] for participant in participants],
        }
    )
    taken = {*RESERVED_COLUMNS, *acquisition.columns}
    renamed = columns.rename(columns={name: f"{name} (table)" for name in columns.columns if name in taken})
    chosen = [index for bag in bags for index in bag]
    records = Picked(volumes.records, chosen)
    split = None if sides is None else tuple(side for r in rows if (side := sides[r]) is not None)
    return Cohort(
        frame=pd.concat([fixed, renamed, acquisition], axis=1),
        entries=tuple(volumes.entries[index] for index in chosen),
        classes=names,
        turnout=turnout,
        bag=np.repeat(np.arange(len(bags), dtype=np.int64), [len(bag) for bag in bags]),
        records=records,
        table=columns,
        acquisition=acquisition,
        target=target.column,
        kind=target.task,
        values=values,
        sides=split,
        notes=target.notes
        + table.notes
        + mixed_contrasts(records, request.combine is not None)
        + tuple(each.sentence() for each in turnout.merged),
        warnings=turnout.warnings()
        + uneven_sessions(records, request.combine is not None)
        + mixed_foregrounds(records)
        + mixed_numerics(records, header),
        select=request.select,
        combine=request.combine,
    )


def permute_labels(cohort: Cohort, seed: int) -> Cohort:
    """The cohort with labels permuted between participants; sessions of one participant stay together.

    Args:
        cohort: The cohort.
        seed: Of the permutation; equal seeds give equal permutations.
    """
    _, first, inverse = np.unique(cohort.participants, return_index=True, return_inverse=True)
    generator = np.random.Generator(np.random.PCG64(seed))
    given = generator.permutation(len(first))
    # Of sessions that differ in a number everybody else gets the mean.
    sums = np.stack([np.bincount(inverse, column) for column in cohort.values.T], axis=1)
    means = np.asarray(sums / np.bincount(inverse)[:, None], dtype=np.float64)
    y, values = cohort.y[first][given], means[given]
    return replace(cohort, frame=cohort.frame.assign(y=y[inverse]), values=values[inverse])
