"""How rows of the cohort table find the volumes of the store.

A participant's id is compared without `sub-` and the user's own prefixes, a session's without `ses-`. A
table with a session column is joined on (participant, session), one without on the participant, and with
`nearest` on the participant and the date that is nearest to the scan.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from aggregate.cohort.table.cohort_table import CohortTable
from aggregate.cohort.table.dates import nearest_row, read_dates
from aggregate.cohort.table.ids import plain_participant, plain_session, session_of_visit
from aggregate.cohort.table.join_spec import JoinSpec
from aggregate.cohort.table.scan_dates import ScanDates, read_scan_dates
from aggregate.common.table_values import listed
from cache_schema.common.errors import SlicecacheError
from cache_schema.format.identity import VolumeKey, twins

Pair = tuple[str, str]
"""Participant and session, as they are compared; the session is empty where it plays no part."""

ALONE = "in the store, not in the table"
ROW_ALONE = "in the table, not in the store"


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A volume, or a row of the table, that does not take part, and why in plain words."""

    participant_id: str
    session_id: str
    volume_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Join:
    """The rule that turns rows and volumes into pairs that can be compared."""

    spec: JoinSpec
    session: str | None
    """Column of the session, or None when the join is on the participant alone."""
    by_session: bool = False
    """Whether the store's volumes have sessions."""
    scans: ScanDates | None = None
    """When the store's sessions were scanned, if that was asked for."""

    def participant(self, name: str) -> str:
        """A participant's id as it is compared."""
        return plain_participant(self.spec, name)

    def of_key(self, key: VolumeKey) -> Pair:
        """A volume's pair."""
        return self.participant(key.participant_id), (
            plain_session(self.spec, key.session_id) if self.session else ""
        )

    def of_row(self, participant: str, session: str) -> Pair:
        """A row's pair, its visit code translated."""
        return self.participant(participant), session_of_visit(self.spec, session) if self.session else ""

    def of_table(self, table: CohortTable) -> list[Pair]:
        """Every row's pair.

        Raises:
            SlicecacheError: If two rows have the same one (and that is to be refused), two ids are one to
                the eye, or a row has no participant.
        """
        people = list(table.text[self.spec.participant])
        visits = list(table.text[self.session]) if self.session else [""] * len(people)
        if "" in people:
            raise SlicecacheError(
                f"{table.path.name}: {people.count('')} rows have no {self.spec.participant!r}"
            )
        _refuse_twins(people, table)
        pairs = [self.of_row(person, visit) for person, visit in zip(people, visits, strict=True)]
        if self.spec.nearest is None and self.spec.ambiguous == "refuse":
            _refuse_duplicates(pairs, people, visits, self, table)
        return pairs

    def day(self, key: VolumeKey) -> tuple[date | None, str]:
        """When a volume was scanned, or why that is not known."""
        if self.scans is None:
            return None, "no dates were given"
        session = plain_session(self.spec, key.session_id) if self.by_session else ""
        return self.scans.day((self.participant(key.participant_id), session), key.volume_id)

    def rows_of(
        self, keys: Sequence[VolumeKey], table: CohortTable, pairs: Sequence[Pair], dropped: dict[Pair, str]
    ) -> tuple[list[int], list[str]]:
        """The row of every volume, -1 where there is none, and the reason for that.

        Args:
            keys: Of the volumes.
            table: As narrowed by `where`.
            pairs: Of its rows.
            dropped: Pairs of rows that are not in it any more, with the reason.

        Raises:
            SlicecacheError: If a date of the table is none.
        """
        places: dict[Pair, list[int]] = {}
        for row, pair in enumerate(pairs):
            places.setdefault(pair, []).append(row)
        if self.spec.nearest is not None:
            return self._nearest(keys, table, places, dropped)
        rows, reasons = [], []
        for key in keys:
            pair = self.of_key(key)
            found = places.get(pair, [])
            rows.append(found[0] if len(found) == 1 else -1)
            if len(found) > 1:
                reasons.append(f"ambiguous ({len(found)} rows of {table.path.name})")
            else:
                reasons.append("" if found else dropped.get(pair, ALONE))
        return rows, reasons

    def _nearest(
        self,
        keys: Sequence[VolumeKey],
        table: CohortTable,
        places: dict[Pair, list[int]],
        dropped: dict[Pair, str],
    ) -> tuple[list[int], list[str]]:
        asked = self.spec.nearest
        assert asked is not None
        when = read_dates(
            table, asked.column, self.spec.date_format, "join.nearest.column", "join.date_format"
        )
        rows, reasons = [], []
        for key in keys:
            pair = self.of_key(key)
            day, reason = self.day(key)
            row = -1
            if pair not in places:
                reason = dropped.get(pair, ALONE)
            elif day is not None:
                own = [(place, when[place]) for place in places[pair]]
                dated = [(place, found.date()) for place, found in own if found is not None]
                row, reason = nearest_row(day, dated, asked.days, table.path.name)
            rows.append(row)
            reasons.append(reason)
        return rows, reasons


def make_join(spec: JoinSpec, table: CohortTable, keys: Sequence[VolumeKey]) -> Join:
    """Decide the columns of the join, and read the dates of scans where there are some.

    A store whose volumes have no sessions is joined on the participant, whatever the table has.

    Raises:
        ConfigError: If a column does not exist.
        SlicecacheError: If two participants of the store have the same id without prefixes, or dates
            cannot be read.
    """
    table.require(spec.participant, "join.participant")
    session = spec.session
    if session is not None:
        table.require(session, "join.session")
    elif "session_id" in table.text.columns and spec.nearest is None:
        session = "session_id"
    if spec.nearest is not None:
        table.require(spec.nearest.column, "join.nearest.column")
    by_session = any(key.session_id for key in keys)
    scans = None if spec.dates is None else read_scan_dates(spec.dates, spec, by_session)
    join = Join(spec, session if by_session else None, by_session, scans)
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
