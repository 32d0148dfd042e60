"""Checking commit records: against their hashes, their names, the table, and what a seal says of them."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cache_schema.common.errors import StoreError
from cache_schema.common.problem import EXTRACT_AGAIN, RESTORE, SEAL_AGAIN, Problem
from cache_schema.files.objects import Objects
from cache_schema.format.canonical import is_canonical
from cache_schema.format.header import Header
from cache_schema.format.identity import VolumeKey
from cache_schema.format.layout import SEALED_INDEX, SEALED_RECORDS, record_name
from cache_schema.format.record import VolumeRecord
from cache_schema.store.commit import parse_record
from cache_schema.store.packed import check_lines, stored_records
from cache_schema.store.seal import read_sealed_index, read_sealed_records
from cache_schema.store.table import VolumeTable


@dataclass(frozen=True, slots=True)
class SoundRecord:
    """What the checks need of a record that matches its hash: the record itself would be 10 kB."""

    key: VolumeKey
    row: int
    n_slices: int
    digest: str
    crc32c: Mapping[str, int]
    name: str
    """Of the object that holds it."""


def check_records(
    objects: Objects, header: Header, table: VolumeTable | None
) -> tuple[list[SoundRecord], list[Problem]]:
    """Records must match their hashes, their names, and the table's rows; rows belong to one volume."""
    records: list[SoundRecord] = []
    problems: list[Problem] = []
    rows: dict[int, VolumeKey] = {}
    for name, data in _as_far_as_readable(objects, problems):
        try:
            record = parse_record(data, name)
        except StoreError as error:
            problems.append(Problem(_volume_of(name, table), "record", str(error), EXTRACT_AGAIN))
            continue
        crcs = {sys.intern(array): proof.crc32c for array, proof in record.arrays.items()}
        n = len(record.slices.index)
        records.append(SoundRecord(record.key, record.row, n, record.digest, crcs, name))
        if not is_canonical(data):
            problems.append(
                Problem(str(record.key), "record", "not as it was written: edited", EXTRACT_AGAIN)
            )
        problems += [
            Problem(str(record.key), "record", text, EXTRACT_AGAIN)
            for text in _record_faults(record, name, header, table, rows)
        ]
    return sorted(records, key=lambda record: record.key), problems


def _as_far_as_readable(objects: Objects, problems: list[Problem]) -> Iterator[tuple[str, bytes]]:
    """Every record with its name, until one cannot be read at all (a link, a line without a hash)."""
    try:
        problems += [Problem("", "record", text, RESTORE) for text in check_lines(objects)]
        yield from stored_records(objects)
    except StoreError as error:
        problems.append(Problem("", "record", str(error), RESTORE))


def _record_faults(
    record: VolumeRecord, name: str, header: Header, table: VolumeTable | None, rows: dict[int, VolumeKey]
) -> Iterator[str]:
    """What is wrong with one record, other than its hash."""
    if name != record_name(record.key):
        yield f"{name} holds the record of another volume"
    if rows.setdefault(record.row, record.key) != record.key:
        yield f"row {record.row} is also that of {rows[record.row]}"
    if table is not None and table.index.get(record.key) != record.row:
        yield f"the record says row {record.row}, the table {table.index.get(record.key)}"
    if record.numerics is not None and record.numerics not in header.other_numerics:
        yield "it says that it was computed with numerics that the header does not know of"
    names = {spec.name for spec in header.arrays}
    if record.arrays and record.arrays.keys() != names:
        yield f"it proves the arrays {sorted(record.arrays)}, not {sorted(names)}"
    if record.tokens.keys() != names:
        yield f"it describes the arrays {sorted(record.tokens)}, not {sorted(names)}"


def _volume_of(name: str, table: VolumeTable | None) -> str:
    """The volume that a record's file name belongs to, as the table knows it."""
    keys = () if table is None else table.index
    return next((str(key) for key in keys if record_name(key) == name), name)


def check_seal(objects: Objects, records: Sequence[SoundRecord]) -> list[Problem]:
    """A sealed index must match its hash and say of every record what the record says."""
    try:
        index = read_sealed_index(objects)
        if index is None:
            return []
        lines = read_sealed_records(objects, len(index.row))
    except StoreError as error:
        return [Problem("", "sealed", str(error), SEAL_AGAIN)]
    problems = []
    if lines.sha256 != index.records_sha256:
        text = f"{SEALED_RECORDS} does not match the hash in {SEALED_INDEX}"
        problems.append(Problem("", "sealed", text, SEAL_AGAIN))
    keys = map(VolumeKey, index.participant_id, index.session_id, index.volume_id)
    # Empty where no record states anything, as `index_row` has it.
    crcs = (
        [{} for _ in index.row]
        if not index.crc32c
        else [
            {name: crc for name, crc in zip(index.crc32c, column, strict=True) if crc is not None}
            for column in zip(*index.crc32c.values(), strict=True)
        ]
    )
    sealed = dict(zip(keys, zip(index.row, index.n_slices, index.digest, crcs, strict=True), strict=True))
    found = {r.key: (r.row, r.n_slices, r.digest, r.crc32c) for r in records}
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
    return f"the sealed index says {sealed[key]}, the record {found[key]} (row, slices, digest, crc32c)"
