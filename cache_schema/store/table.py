"""The append-only volume table: a row for life, in segments that are each created exclusively.

Appending needs no lock: a segment is created whole or not at all, and who loses the race for a
segment's name reads the winner's rows and appends what is still missing as the next segment.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count

from pydantic import ValidationError

from cache_schema.common.errors import StoreError
from cache_schema.common.stored_json import read_object
from cache_schema.common.strict import Strict, refusal
from cache_schema.files.objects import LocalObjects, Objects, Stamp
from cache_schema.files.remote.objects import RemoteObjects, at_once
from cache_schema.format.canonical import canonical_json, sha256_json
from cache_schema.format.identity import VolumeKey
from cache_schema.format.layout import TABLE
from cache_schema.format.limits import Row, SliceCount, object_limit
from cache_schema.format.record import TableRow

AHEAD = 16
"""So many segments at most are asked for at once, beyond those that are known."""
MAX_SEGMENTS = 1_000_000
"""Each append makes one, of a row at least."""


class Segment(Strict):
    """One object of the table."""

    first_row: Row
    slices: SliceCount
    """From this segment on the arrays cover at least this many slices."""
    rows: tuple[TableRow | None, ...]
    """None: withdrawn; the row's number is never given again."""
    sha256: str = ""

    def self_hash(self) -> str:
        """SHA-256 of the segment without its own hash."""
        return sha256_json(self.model_dump(mode="json", exclude={"sha256"}))


@dataclass(frozen=True, slots=True)
class VolumeTable:
    """All segments together."""

    rows: tuple[TableRow | None, ...] = ()
    slices: int = 0
    """Slices that the arrays must cover."""
    segments: int = 0
    stamps: tuple[Stamp, ...] = ()
    """Which file each segment was: one that withdrew a volume meanwhile is another."""
    index: dict[VolumeKey, int] = field(default_factory=dict)
    """Key to row."""

    def volumes(self) -> tuple[TableRow, ...]:
        """The rows that are not withdrawn, in row order."""
        return tuple(row for row in self.rows if row is not None)


def segment_name(number: int) -> str:
    """Object name of a segment."""
    return f"{TABLE}/{number:06d}.json"


def encode_segment(first_row: int, slices: int, rows: Sequence[TableRow | None]) -> bytes:
    """A segment as it is stored, with its own hash."""
    segment = Segment(first_row=first_row, slices=slices, rows=tuple(rows))
    return canonical_json(segment.model_dump(mode="json") | {"sha256": segment.self_hash()})


def parse_segment(data: bytes, name: str) -> Segment:
    """Read a segment.

    Raises:
        StoreError: If it is unreadable or does not match its own hash.
    """
    try:
        raw = read_object(data, object_limit(name))
        segment = Segment.model_validate(raw)
        right = segment.sha256 == sha256_json({key: raw[key] for key in raw if key != "sha256"})
    except ValidationError as error:
        raise StoreError(refusal(error, name)) from error
    except ValueError as error:
        raise StoreError(f"{name} cannot be read: {_first_line(error)}") from error
    if not right:
        raise StoreError(f"{name} does not match its own hash: it was edited or damaged")
    return segment


def read_volume_table(objects: Objects, known: VolumeTable | None = None) -> VolumeTable:
    """Read and join all segments; with a `known` table, only those that came after it.

    A `known` table of which a row was withdrawn meanwhile is read again.

    Raises:
        StoreError: If a segment is missing, damaged, out of place, or a volume has two rows.
    """
    names, stamps = list_segments(objects, 0 if known is None else known.segments)
    if known is None or known.stamps != stamps[: known.segments]:
        known = VolumeTable()
    if len(names) == known.segments:
        return known
    rows, slices, index = list(known.rows), known.slices, dict(known.index)
    for number, name in enumerate(names):
        if name != segment_name(number):
            raise StoreError(f"the volume table has no segment {segment_name(number)}, but {name}")
        if number < known.segments:
            continue
        segment = parse_segment(objects.get(name) or b"", name)
        if segment.first_row != len(rows):
            raise StoreError(f"{name} begins at row {segment.first_row}, but {len(rows)} rows come before it")
        slices = max(slices, segment.slices)
        for place, row in enumerate(segment.rows, start=len(rows)):
            if row is not None and index.setdefault(row.key, place) != place:
                raise StoreError(f"the volume table has {row.key} in rows {index[row.key]} and {place}")
        rows += segment.rows
    return VolumeTable(tuple(rows), slices, len(names), stamps, index)


def list_segments(objects: Objects, known: int = 0) -> tuple[list[str], tuple[Stamp, ...]]:
    """Names of all segments, and which object each is now.

    Behind a URL they are asked for by number, at first one more than are `known`: a bucket may take a while
    to list what is there already.

    Raises:
        StoreError: If there are more than a table can need.
    """
    if isinstance(objects, RemoteObjects) and objects.lists:
        stamps: list[Stamp] = []
        for step in count():
            first, ahead = len(stamps), min(2**step, AHEAD) if step else known + 1
            for _, stamp in at_once(objects.stamp, map(segment_name, range(first, first + ahead))):
                if stamp is None:
                    return [segment_name(number) for number in range(len(stamps))], tuple(stamps)
                stamps.append(stamp)
            if len(stamps) > MAX_SEGMENTS:
                raise StoreError(f"{objects.url!r} answers to more than {MAX_SEGMENTS} segments of the table")
    names = objects.list(TABLE)
    return names, tuple(objects.stamp(name) if isinstance(objects, LocalObjects) else None for name in names)


def append_rows(
    objects: Objects, rows: Sequence[TableRow], slices: int = 0, known: VolumeTable | None = None
) -> VolumeTable:
    """Give every new volume a row, and the arrays at least `slices` slices; the table afterwards.

    Any number of processes may do this at once. Volumes that have a row keep it as it is.

    Raises:
        StoreError: If `rows` holds a volume twice, or the table is damaged.
    """
    refuse_double_rows(rows)
    table = known or VolumeTable()
    while True:
        table = read_volume_table(objects, table)
        missing = [row for row in rows if row.key not in table.index]
        wanted = max([slices, table.slices, *(row.max_slices for row in missing)])
        if not missing and wanted == table.slices:
            return table
        # Won or lost, the table is read again: a loser appends what is still missing, if anything is.
        objects.create(segment_name(table.segments), encode_segment(len(table.rows), wanted, missing))


def refuse_double_rows(rows: Sequence[TableRow]) -> None:
    """Refuse a list in which one key stands twice.

    Raises:
        StoreError: Naming the key and both files.
    """
    seen: dict[VolumeKey, TableRow] = {}
    for row in rows:
        other = seen.setdefault(row.key, row)
        if other is not row:
            raise StoreError(f"volume {row.key} is given twice: {other.path!r} and {row.path!r}")


def _first_line(error: Exception) -> str:
    """The beginning of somebody else's message, fit for one sentence."""
    return " ".join(str(error).split())[:160]
