"""Checking a store against itself: every problem is named by volume and array, with what to do.

One function per check; none stops at the first problem. Only a header that cannot be trusted ends the
check, because nothing else means anything without it.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from cache_schema.check_volume import check_volume
from cache_schema.commit import parse_record, read_failures
from cache_schema.create import load_header
from cache_schema.errors import StoreError
from cache_schema.extents import wanted_extents
from cache_schema.header import Header
from cache_schema.identity import VolumeKey
from cache_schema.layout import (
    HEADER,
    MARKER,
    RECORDS,
    SEALED_INDEX,
    SEALED_RECORDS,
    ArrayLayout,
    metadata_name,
    parse_layout,
    record_name,
)
from cache_schema.objects import Objects, open_objects
from cache_schema.problem import EXTRACT_AGAIN, RESTORE, SEAL_AGAIN, WRITE_AGAIN, Problem
from cache_schema.record import VolumeRecord
from cache_schema.seal import read_sealed_index, read_sealed_records
from cache_schema.table import Table, read_table


@dataclass(frozen=True, slots=True)
class Verification:
    """What a check of a store found."""

    location: str
    n_volumes: int
    """Committed volumes that were read."""
    bytes_read: int
    seconds: float
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]
    """Nothing wrong, but worth knowing: volumes of the table that are not committed."""

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def as_json(self) -> dict[str, Any]:
        """The whole as JSON data."""
        return {"ok": self.ok, **asdict(self)}


def verify(location: str, progress: Callable[[int, int], None] | None = None) -> Verification:
    """Check schema, header, table, records, checksums, pads and digests of a store.

    Args:
        location: A folder, a zip or a URL.
        progress: Called with the volumes checked and their number.

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
        return Verification(location, 0, 0, time.perf_counter() - started, (problem,), ())
    problems = list(check_group(objects))
    table, table_problems = check_table(objects)
    layouts, layout_problems = check_arrays(objects, header)
    records, record_problems = check_records(objects, header, table)
    problems += table_problems + layout_problems + record_problems
    problems += check_extents(layouts, records)
    bytes_read = 0
    for done, record in enumerate(records, start=1):
        found, size = check_volume(objects, layouts, record)
        problems += found
        bytes_read += size
        if progress is not None:
            progress(done, len(records))
    problems += check_seal(objects, header, records)
    problems += check_failures(objects)
    notes = (*pending_notes(table, records), *extent_notes(header, layouts, table))
    return Verification(
        location, len(records), bytes_read, time.perf_counter() - started, tuple(problems), notes
    )


def check_group(objects: Objects) -> Iterator[Problem]:
    """The group metadata must be Zarr version 3 and carry the marker."""
    data = objects.get("zarr.json")
    try:
        meta = json.loads(data or b"")
        right = meta["zarr_format"] == 3 and meta["attributes"][MARKER]["header"] == HEADER
    except (ValueError, KeyError, TypeError):
        right = False
    if not right:
        yield Problem("", "zarr.json", "the group metadata is missing, damaged or lacks the marker", RESTORE)


def check_table(objects: Objects) -> tuple[Table | None, list[Problem]]:
    """Segments must be whole, match their hashes, follow one another, and give each volume one row."""
    try:
        return read_table(objects), []
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


def check_extents(layouts: Mapping[str, ArrayLayout], records: Sequence[VolumeRecord]) -> list[Problem]:
    """Extents must cover every committed volume, or Zarr's own readers would not see it."""
    volumes = max((record.row + 1 for record in records), default=0)
    slices = max((len(record.slices.index) for record in records), default=0)
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


def extent_notes(header: Header, layouts: Mapping[str, ArrayLayout], table: Table | None) -> tuple[str, ...]:
    """Arrays that do not cover the table yet: an append was interrupted before anything was committed."""
    wanted = (0, 0) if table is None else wanted_extents(header, table)
    return tuple(
        f"array {name!r} does not cover the table yet: {WRITE_AGAIN}"
        for name, layout in layouts.items()
        if layout.shape[0] < wanted[0] or layout.shape[1] < wanted[1]
    )


def check_records(
    objects: Objects, header: Header, table: Table | None
) -> tuple[list[VolumeRecord], list[Problem]]:
    """Records must match their hashes, their names, and the table's rows; rows belong to one volume."""
    records: list[VolumeRecord] = []
    problems = []
    rows: dict[int, VolumeKey] = {}
    for name in objects.list(RECORDS):
        try:
            record = parse_record(objects.get(name) or b"", name)
        except StoreError as error:
            problems.append(Problem(_volume_of(name, table), "record", str(error), EXTRACT_AGAIN))
            continue
        records.append(record)
        problems += [
            Problem(str(record.key), "record", text, EXTRACT_AGAIN)
            for text in _record_faults(record, name, header, table, rows)
        ]
    return sorted(records, key=lambda record: record.key), problems


def _record_faults(
    record: VolumeRecord, name: str, header: Header, table: Table | None, rows: dict[int, VolumeKey]
) -> Iterator[str]:
    """What is wrong with one record, other than its hash."""
    if name != record_name(record.key):
        yield f"{name} holds the record of another volume"
    if rows.setdefault(record.row, record.key) != record.key:
        yield f"row {record.row} is also that of {rows[record.row]}"
    if table is not None and table.index.get(record.key) != record.row:
        yield f"the record says row {record.row}, the table {table.index.get(record.key)}"
    lengths = {len(record.slices.index), len(record.slices.height_mm), len(record.slices.world_z_mm)}
    if len(lengths) > 1:
        yield f"slice indices, heights and world z have different lengths {sorted(lengths)}"
    names = {spec.name for spec in header.arrays}
    if record.tokens.keys() != names:
        yield f"it describes the arrays {sorted(record.tokens)}, not {sorted(names)}"


def _volume_of(name: str, table: Table | None) -> str:
    """The volume that a record's file name belongs to, as the table knows it."""
    keys = () if table is None else table.index
    return next((str(key) for key in keys if record_name(key) == name), name)


def check_seal(objects: Objects, header: Header, records: Sequence[VolumeRecord]) -> list[Problem]:
    """A sealed index must match its hash and say of every record what the record says."""
    try:
        index = read_sealed_index(objects, header)
        if index is None:
            return []
        body = objects.get(SEALED_RECORDS) or b""
        read_sealed_records(objects, len(index.row))
    except StoreError as error:
        return [Problem("", "sealed", str(error), SEAL_AGAIN)]
    problems = []
    if hashlib.sha256(body).hexdigest() != index.records_sha256:
        text = f"{SEALED_RECORDS} does not match the hash in {SEALED_INDEX}"
        problems.append(Problem("", "sealed", text, SEAL_AGAIN))
    keys = map(VolumeKey, index.participant_id, index.session_id, index.volume_id)
    sealed = dict(zip(keys, zip(index.row, index.n_slices, index.digest, strict=True), strict=True))
    found = {r.key: (r.row, len(r.slices.index), r.digest) for r in records}
    for key in sorted(sealed.keys() | found.keys()):
        if sealed.get(key) != found.get(key):
            problems.append(Problem(str(key), "sealed", _seal_fault(key, sealed, found), SEAL_AGAIN))
    return problems


def _seal_fault(key: VolumeKey, sealed: Mapping[VolumeKey, Any], found: Mapping[VolumeKey, Any]) -> str:
    """How the sealed index and the records disagree on a volume."""
    if key not in found:
        return "the sealed index has it, but its record is missing or damaged"
    if key not in sealed:
        return "it has a record, but the sealed index does not know it"
    return f"the sealed index says {sealed[key]}, the record {found[key]} (row, slices, digest)"


def check_failures(objects: Objects) -> list[Problem]:
    """Failures must be readable."""
    try:
        read_failures(objects)
    except StoreError as error:
        return [Problem("", "failures", str(error), "delete that file and run the extraction again")]
    return []


def pending_notes(table: Table | None, records: Sequence[VolumeRecord]) -> tuple[str, ...]:
    """How many volumes of the table are not committed."""
    if table is None:
        return ()
    pending = table.index.keys() - {record.key for record in records}
    if not pending:
        return ()
    return (f"{len(pending)} of {len(table.index)} volumes of the table are not committed",)
