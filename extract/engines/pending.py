"""What is left to do: the store is asked which volumes it has, and whether they are what they were."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

from cache_schema.common.errors import ParticipantWithdrawn, StoreError, VolumeError
from cache_schema.common.terminal.progress import counting
from cache_schema.format.identity import VolumeKey
from cache_schema.format.record import Failure, VolumeRecord
from cache_schema.store.writer import StoreWriter
from extract.engines.changes import Changes
from extract.planning.plan import PlannedVolume
from extract.sources.candidate import Candidate

GONE = "its file vanished after it was planned"


@dataclass(frozen=True, slots=True)
class Pending:
    """What is left to do, after the store was asked."""

    volumes: tuple[PlannedVolume, ...]
    skipped: int
    replacing: frozenset[VolumeKey]
    unusable: tuple[Failure, ...]
    """Committed volumes that were made from something else, which stay as they are, and what vanished."""
    notes: tuple[str, ...]


@dataclass(slots=True)
class _Sorted:
    volumes: list[PlannedVolume] = field(default_factory=list)
    skipped: int = 0
    replacing: set[VolumeKey] = field(default_factory=set)
    unusable: list[Failure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def replace(self, planned: PlannedVolume) -> None:
        """Embed a volume again."""
        self.volumes.append(planned)
        self.replacing.add(planned.candidate.key)


def sort_out(
    volumes: Iterable[PlannedVolume], writer: StoreWriter, changes: Changes, replace: bool
) -> Pending:
    """Ask the store which volumes are left, and whether what a committed one was made from has changed.

    Args:
        volumes: What the input has.
        writer: The open store.
        changes: Tells what has changed.
        replace: Embed again what has changed, and what is damaged in the store; the latter reads it whole.

    Raises:
        StoreError: If a record is damaged and nothing may be replaced.
    """
    found, volumes = _Sorted(), list(volumes)
    # A damaged record is no reason to stop where it may be replaced; such are read one by one.
    ahead = None if replace else writer.records(planned.candidate.key for planned in volumes)
    with counting("comparing with the store", len(volumes)) as count:
        for planned in volumes:
            count()
            key = planned.candidate.key
            if replace and not writer.is_sound(key):
                found.notes.append(f"{key} was damaged in the store and is embedded again")
                found.replace(planned)
                continue
            record = writer.record(key) if ahead is None else next(ahead)
            if record is None:
                found.volumes.append(planned)
            else:
                _compare(planned, record, changes, replace, found)
    return Pending(
        tuple(found.volumes),
        found.skipped,
        frozenset(found.replacing),
        tuple(found.unusable),
        (*found.notes, *changes.notes()),
    )


def _compare(
    planned: PlannedVolume, record: VolumeRecord, changes: Changes, replace: bool, found: _Sorted
) -> None:
    """Sort a committed volume."""
    candidate = planned.candidate
    try:
        changed = changes.of(candidate, record)
    except FileNotFoundError:
        found.unusable.append(failure_of(candidate, GONE))
        return
    except (OSError, VolumeError) as error:
        why = getattr(error, "strerror", None) or error
        found.unusable.append(failure_of(candidate, f"its file cannot be read: {why}"))
        return
    if not changed:
        found.skipped += 1
    elif replace:
        found.replace(planned)
        found.notes.append(f"{candidate.key}: its {listed(changed)} changed; it is embedded again")
    else:
        found.unusable.append(failure_of(candidate, changed_sentence(changed)))


def changed_sentence(changed: list[str]) -> str:
    """The reason of a failure."""
    have = "has" if len(changed) == 1 else "have"
    advice = "extract with --replace to embed it again"
    return f"its {listed(changed)} {have} changed since it was embedded; {advice}"


def listed(words: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last


def record_refusals(refused: Iterable[PlannedVolume], writer: StoreWriter) -> list[Failure]:
    """Write down what planning refused.

    What is committed stays committed, whatever became of its file: the store has no failure of it.
    """
    failures = [failure_of(planned.candidate, str(planned.refusal)) for planned in refused]
    for failure in failures:
        if not is_committed(writer, failure.key):
            with suppress(ParticipantWithdrawn):  # since it was planned
                note_failure(writer, failure)
    return failures


def is_committed(writer: StoreWriter, key: VolumeKey) -> bool:
    """Whether a volume has a record, be it a damaged one."""
    try:
        return writer.record(key) is not None
    except StoreError:
        return True


def failure_of(candidate: Candidate, reason: str) -> Failure:
    """The row that says why a volume is not in the store."""
    key = candidate.key
    return Failure(
        participant_id=key.participant_id,
        session_id=key.session_id,
        volume_id=key.volume_id,
        path=candidate.source,
        reason=reason,
        when=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def note_failure(writer: StoreWriter, failure: Failure) -> None:
    """Write down why a volume failed, unless the store says just that: a resume takes no seal off for it."""
    try:
        known = writer.failure(failure.key)
    except StoreError:
        known = None
    if known is None or (known.path, known.reason) != (failure.path, failure.reason):
        writer.fail(failure)
