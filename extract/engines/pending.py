"""What is left to do: the store is asked which volumes it has, and whether they are what they were."""

import hashlib
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from cache_schema.common.errors import ParticipantWithdrawn, StoreError
from cache_schema.format.identity import VolumeKey
from cache_schema.format.record import Failure, SourceFile
from cache_schema.store.writer import StoreWriter
from extract.engines.local import failure_of
from extract.planning.plan import PlannedVolume

CHANGED = "its file has changed since it was embedded; extract with --replace to embed it again"
GONE = "its file vanished after it was planned"


@dataclass(frozen=True, slots=True)
class Pending:
    """What is left to do, after the store was asked."""

    volumes: tuple[PlannedVolume, ...]
    skipped: int
    replacing: frozenset[VolumeKey]
    unusable: tuple[Failure, ...]
    """Committed volumes whose source is another now, which stay as they are, and sources that vanished."""
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


def sort_out(volumes: Iterable[PlannedVolume], writer: StoreWriter, replace: bool) -> Pending:
    """Ask the store which volumes are left, and whether the source of a committed one has changed.

    Args:
        volumes: What the input has.
        writer: The open store.
        replace: Embed again what has changed, and what is damaged in the store; the latter reads it whole.

    Raises:
        StoreError: If a record is damaged and nothing may be replaced.
    """
    found = _Sorted()
    for planned in volumes:
        candidate = planned.candidate
        if replace and not writer.is_sound(candidate.key):
            found.notes.append(f"{candidate.key} was damaged in the store and is embedded again")
            found.replace(planned)
            continue
        record = writer.record(candidate.key)
        if record is None:
            found.volumes.append(planned)
            continue
        try:
            same = unchanged(candidate.path, record.source)
        except FileNotFoundError:
            found.unusable.append(failure_of(candidate, GONE))
            continue
        if same:
            found.skipped += 1
        elif replace:
            found.replace(planned)
        else:
            found.unusable.append(failure_of(candidate, CHANGED))
    return Pending(
        tuple(found.volumes),
        found.skipped,
        frozenset(found.replacing),
        tuple(found.unusable),
        tuple(found.notes),
    )


def record_refusals(refused: Iterable[PlannedVolume], writer: StoreWriter) -> list[Failure]:
    """Write down what planning refused.

    What is committed stays committed, whatever became of its file: the store has no failure of it.
    """
    failures = [failure_of(planned.candidate, str(planned.refusal)) for planned in refused]
    for failure in failures:
        if not is_committed(writer, failure.key):
            with suppress(ParticipantWithdrawn):  # since it was planned
                writer.fail(failure)
    return failures


def is_committed(writer: StoreWriter, key: VolumeKey) -> bool:
    """Whether a volume has a record, be it a damaged one."""
    try:
        return writer.record(key) is not None
    except StoreError:
        return True


def unchanged(path: Path, source: SourceFile) -> bool:
    """Whether a file is what was embedded: bytes and mtime, and on doubt (touched, copied) its hash."""
    found = path.stat()
    if found.st_size != source.bytes:
        return False
    return found.st_mtime_ns == source.mtime_ns or file_digest(path) == source.sha256


def file_digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
