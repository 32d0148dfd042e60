"""Checking a store against itself: every problem is named by volume and array, with what to do.

One function per check; none stops at the first problem. Only a header that cannot be trusted ends the
check, because nothing else means anything without it.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from cache_schema.common.errors import StoreError
from cache_schema.common.problem import EXTRACT_AGAIN, RESTORE, WRITE_AGAIN, Problem
from cache_schema.common.stored_json import read_object
from cache_schema.common.text.counts import counted
from cache_schema.files.locate import open_objects
from cache_schema.files.objects import Objects
from cache_schema.format.canonical import is_canonical
from cache_schema.format.digests.digest import content_digest
from cache_schema.format.header import Header
from cache_schema.format.layout import (
    FAILURES,
    HEADER,
    MARKER,
    NUMERICS,
    PREVIEWS,
    ArrayLayout,
    metadata_name,
    parse_layout,
)
from cache_schema.store.check_volume import check_volume
from cache_schema.store.commit import parse_failure, parse_record
from cache_schema.store.create import load_header
from cache_schema.store.numerics import require_fixed
from cache_schema.store.packed import stored_object
from cache_schema.store.previews import check_previews
from cache_schema.store.reading.unlisted import NOTE, UnlistedObjects, with_names
from cache_schema.store.table import VolumeTable, read_volume_table
from cache_schema.verify.by_zarr import check_by_zarr
from cache_schema.verify.contents import Contents
from cache_schema.verify.notes import extent_notes, pending_notes, unfinished_notes
from cache_schema.verify.records import SoundRecord, check_records, check_seal
from cache_schema.verify.strays import check_strays
from cache_schema.verify.withdrawn import check_withdrawn


@dataclass(frozen=True, slots=True, repr=False)
class Verification:
    """What a check of a store found."""

    location: str
    n_volumes: int
    """Committed volumes that were read."""
    bytes_read: int
    """Of kept slices."""
    seconds: float
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]
    """Nothing wrong, but worth knowing: volumes of the table that are not committed."""
    full: bool = False
    """Whether the cohort-wide checks were made, too."""
    content_digest: str | None = None
    """Of the volumes that were read, as `seal` says it; None where anything is wrong."""

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def __repr__(self) -> str:
        found = "ok" if self.ok else f"NOT ok, see its {len(self.problems)} .problems"
        checked = "checked in full" if self.full else "checked"
        return f"<Verification {self.location!r}: {found}, {counted(self.n_volumes, 'volume')} {checked}>"

    def as_json(self) -> dict[str, Any]:
        """The whole as JSON data."""
        return {"ok": self.ok, **asdict(self)}


def verify_store(
    location: str, progress: Callable[[int, int], None] | None = None, *, full: bool = False
) -> Verification:
    """Check schema, header, table, records, checksums, pads and digests of a store.

    Args:
        location: A folder, a zip or a URL.
        progress: Called with the volumes checked and their number.
        full: Also look for what matches its hashes and is wrong all the same: zero tokens, norms out of
            the cohort's range, duplicated volumes, data without a record; and read some through zarr-python.

    Raises:
        StoreError: If there is nothing at the location.
    """
    started = time.perf_counter()
    objects = open_objects(location)
    if objects is None:
        raise StoreError(f"there is no store at {location!r}")
    try:
        header = load_header(objects, location)
    except StoreError as error:
        problem = Problem("", HEADER, str(error), RESTORE)
        return Verification(location, 0, 0, time.perf_counter() - started, (problem,), (), full)
    objects = with_names(objects)
    problems = named("zarr.json", lambda: check_group(objects))
    if not is_canonical(objects.get(HEADER) or b""):
        problems.append(Problem("", HEADER, "not as it was written: edited", RESTORE))
    table, table_problems = check_table(objects)
    layouts, layout_problems = check_arrays(objects, header)
    records, record_problems = check_records(objects, header, table)
    problems += named(NUMERICS, lambda: check_numerics(objects, header, len(records), location))
    problems += table_problems + layout_problems + record_problems
    problems += check_withdrawn(objects, table, records)
    problems += check_extents(layouts, records)
    found, bytes_read = check_volumes(objects, header, layouts, records, progress, full=full)
    problems += found
    unlisted = isinstance(objects, UnlistedObjects)
    if full and not unlisted:
        problems += named("(objects)", lambda: check_strays(objects, layouts, table, records))
    problems += named("sealed", lambda: check_seal(objects, records))
    problems += named(FAILURES, lambda: check_failures(objects))
    problems += named(PREVIEWS, lambda: check_pictures(objects))
    if full and not problems:
        problems += check_by_zarr(objects, layouts, records)
    notes = (
        *pending_notes(table, records),
        *extent_notes(header, layouts, table),
        *unfinished_notes(objects),
        *((NOTE,) if unlisted else ()),
    )
    seconds = time.perf_counter() - started
    digest = None if problems else content_digest((record.key, record.digest) for record in records)
    return Verification(location, len(records), bytes_read, seconds, tuple(problems), notes, full, digest)


def named(part: str, check: Callable[[], Iterable[Problem]]) -> list[Problem]:
    """The problems that a check finds; what it cannot read at all (a link, a name that leads out) is one."""
    try:
        return list(check())
    except StoreError as error:
        return [Problem("", part, str(error), RESTORE)]


def check_pictures(objects: Objects) -> Iterator[Problem]:
    """Previews must be pictures, since reports show them."""
    for where, text in check_previews(objects):
        yield Problem("", PREVIEWS, text, f"delete {where}")


def check_volumes(
    objects: Objects,
    header: Header,
    layouts: Mapping[str, ArrayLayout],
    records: Sequence[SoundRecord],
    progress: Callable[[int, int], None] | None,
    *,
    full: bool,
) -> tuple[list[Problem], int]:
    """Read every committed volume; the problems and the bytes read."""
    problems: list[Problem] = []
    size = 0
    contents = Contents()
    specs = {spec.name: spec for spec in header.arrays}
    for done, sound in enumerate(records, start=1):
        try:
            record = parse_record(stored_object(objects, sound.name) or b"", sound.name)
        except StoreError as error:  # it was right a moment ago
            problems.append(Problem(str(sound.key), "record", str(error), EXTRACT_AGAIN))
            continue
        look = partial(contents.add, record, specs) if full else None
        found, read = check_volume(objects, layouts, record, look)
        problems += found
        size += read
        if progress is not None:
            progress(done, len(records))
    return problems + contents.problems(), size


def check_group(objects: Objects) -> Iterator[Problem]:
    """The group metadata must be Zarr version 3 and carry the marker."""
    data = objects.get("zarr.json")
    try:
        meta = read_object(data or b"")
        right = meta["zarr_format"] == 3 and meta["attributes"][MARKER]["header"] == HEADER
    except (ValueError, KeyError, TypeError):
        right = False
    if not right:
        yield Problem("", "zarr.json", "the group metadata is missing, damaged or lacks the marker", RESTORE)


def check_numerics(objects: Objects, header: Header, committed: int, location: str) -> Iterator[Problem]:
    """What was fixed must be as it was written, and there where the header leaves something open."""
    data = objects.get(NUMERICS)
    if data is not None and not is_canonical(data):
        yield Problem("", NUMERICS, "not as it was written: edited", RESTORE)
    require_fixed(header, committed, location)


def check_table(objects: Objects) -> tuple[VolumeTable | None, list[Problem]]:
    """Segments must be whole, match their hashes, follow one another, and give each volume one row."""
    try:
        return read_volume_table(objects), []
    except StoreError as error:
        return None, [Problem("", "table", str(error), RESTORE)]


def check_arrays(objects: Objects, header: Header) -> tuple[dict[str, ArrayLayout], list[Problem]]:
    """Metadata must agree with the header."""
    layouts: dict[str, ArrayLayout] = {}
    problems = []
    for spec in header.arrays:
        try:
            layouts[spec.name] = parse_layout(spec, objects.get(metadata_name(spec.name)))
        except StoreError as error:
            problems.append(Problem("", spec.name, str(error), RESTORE))
    return layouts, problems


def check_extents(layouts: Mapping[str, ArrayLayout], records: Sequence[SoundRecord]) -> list[Problem]:
    """Extents must cover every committed volume, or Zarr's own readers would not see it."""
    volumes = max((record.row + 1 for record in records), default=0)
    slices = max((record.n_slices for record in records), default=0)
    return [
        Problem(
            "",
            name,
            f"extents {layout.shape[:2]} do not cover the committed {(volumes, slices)} (volumes, slices)",
            WRITE_AGAIN,
        )
        for name, layout in layouts.items()
        if layout.shape[0] < volumes or layout.shape[1] < slices
    ]


def check_failures(objects: Objects) -> Iterator[Problem]:
    """Failures must be readable, and stand under the name of the volume that they speak of."""
    for name in objects.list(FAILURES):
        try:
            parse_failure(objects.get(name) or b"", name)
        except StoreError as error:
            yield Problem("", FAILURES, str(error), "delete that file and run the extraction again")
