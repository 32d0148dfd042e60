"""When the sessions of a store were scanned, which the store does not hold: a table says it, or a BIDS tree.

In a tree `sub-*_sessions.tsv` comes first. A session that has no date there has those of its images in
`sub-*_scans.tsv`: an image's own, where it is in it, and else the one day of all of them.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from aggregate.cohort.table.cohort_table import CohortTable, read_table
from aggregate.cohort.table.dates import read_dates
from aggregate.cohort.table.ids import plain_participant, plain_session, session_of_visit
from aggregate.cohort.table.join_spec import DatesSpec, JoinSpec
from aggregate.common.table_values import nearest
from cache_schema.common.errors import ConfigError

Pair = tuple[str, str]
"""Participant and session, as they are compared."""
Days = dict[tuple[str, ...], set[date]]
"""Of sessions, or of images: participant, session and volume."""
SESSIONS, SCANS = "sub-*_sessions.tsv", "sub-*_scans.tsv"
FILENAME = "filename"
"""The column of images in `SCANS`."""


@dataclass(frozen=True, slots=True)
class ScanDates:
    """On which days the sessions of a store were scanned, as far as tables say."""

    source: str
    """Where they stand, for sentences."""
    sessions: Days = field(default_factory=dict)
    """The different days that stand there for a session."""
    scans: Days = field(default_factory=dict)
    """Those of its images."""
    images: Days = field(default_factory=dict)
    """Those of one image."""

    def day(self, pair: Pair, volume_id: str = "") -> tuple[date | None, str]:
        """The day of a session, or of an image in it, or why there is none."""
        found = self.sessions.get(pair) or self.images.get((*pair, volume_id)) or self.scans.get(pair, set())
        if len(found) == 1:
            return next(iter(found)), ""
        if not found:
            return None, f"no date of the session (in {self.source})"
        told = ", ".join(day.isoformat() for day in sorted(found)[:3])
        return None, f"ambiguous date of the session ({told} in {self.source})"


def read_scan_dates(spec: DatesSpec, join: JoinSpec, by_session: bool) -> ScanDates:
    """Read them.

    Args:
        spec: From where.
        join: How ids are compared.
        by_session: Whether the store has sessions; without, a participant has one date.

    Raises:
        ConfigError: If a folder or a column does not exist.
        SlicecacheError: If a table cannot be read, or a cell is no date.
    """
    if spec.bids is not None:
        return _of_tree(spec.bids, spec, join, by_session)
    assert spec.table is not None
    table, dates = read_table(spec.table, (), spec.sheet), ScanDates(spec.table.name)
    people = table.text[table.require(spec.participant, "join.dates.participant")].tolist()
    visits = _visits(table, spec, by_session)
    for person, visit, day in zip(people, visits, _days(table, spec), strict=True):
        _put(dates.sessions, (plain_participant(join, person), session_of_visit(join, visit)), day)
    return dates


def _of_tree(root: Path, spec: DatesSpec, join: JoinSpec, by_session: bool) -> ScanDates:
    """Of a BIDS tree, whose tables need not have dates: some of them must."""
    sessions = sorted(root.glob(f"sub-*/{SESSIONS}"))
    scans = sorted([*root.glob(f"sub-*/{SCANS}"), *root.glob(f"sub-*/ses-*/{SCANS}")])
    if not sessions and not scans:
        raise ConfigError(f"join.dates: {str(root)!r} has no sub-*/{SESSIONS} and no {SCANS}")
    dates = ScanDates(" and ".join([SESSIONS] * bool(sessions) + [SCANS] * bool(scans)))
    columns: dict[str, None] = {}
    for file, table in _read([*sessions, *scans], columns):
        if spec.date not in table.text.columns:
            continue
        person = plain_participant(join, file.name.split("_")[0])
        if file in sessions:
            visits = _visits(table, spec, by_session)
            for visit, day in zip(visits, _days(table, spec), strict=True):
                _put(dates.sessions, (person, session_of_visit(join, visit)), day)
            continue
        pair = person, plain_session(join, _session_of(file)) if by_session else ""
        images = table.text[table.require(FILENAME, "join.dates")].tolist()
        for image, day in zip(images, _days(table, spec), strict=True):
            _put(dates.scans, pair, day)
            _put(dates.images, (*pair, _volume_of(image)), day)
    if spec.date not in columns:
        raise ConfigError(
            f"join.dates.date: no {dates.source} in {str(root)!r} has a column {spec.date!r}"
            f"{nearest(spec.date, list(columns))}"
        )
    return dates


def _read(files: list[Path], columns: dict[str, None]) -> Iterator[tuple[Path, CohortTable]]:
    """Tables one by one; `columns` gathers what they have."""
    for file in files:
        table = read_table(file)
        columns.update(dict.fromkeys(map(str, table.text.columns)))
        yield file, table


def _visits(table: CohortTable, spec: DatesSpec, by_session: bool) -> list[str]:
    """The session of every row, or nothing where sessions play no part."""
    if not by_session:
        return [""] * len(table.text)
    return [str(cell) for cell in table.text[table.require(spec.session, "join.dates.session")]]


def _days(table: CohortTable, spec: DatesSpec) -> list[date | None]:
    """The day of every row, None where missing."""
    found = read_dates(table, spec.date, spec.format, "join.dates.date", "join.dates.format")
    return [None if moment is None else moment.date() for moment in found]


def _put(days: Days, key: tuple[str, ...], day: date | None) -> None:
    if day is not None:
        days.setdefault(key, set()).add(day)


def _session_of(file: Path) -> str:
    """`ses-2` of `sub-01_ses-2_scans.tsv`; empty without."""
    return next((part for part in file.name.split("_") if part.startswith("ses-")), "")


def _volume_of(image: str) -> str:
    """`acq-x_T1w` of `ses-2/anat/sub-01_ses-2_acq-x_T1w.nii.gz`: what the store calls it."""
    parts = image.replace("\\", "/").rpartition("/")[2].partition(".")[0].split("_")
    return "_".join(part for part in parts if not part.startswith(("sub-", "ses-")))
