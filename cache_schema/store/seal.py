"""Sealing: all records gathered in two objects, so that a store of 10,000 volumes opens at once.

`sealed/index.json` holds one short column per field that a cohort needs; `sealed/records.jsonl` all
records, one per line in the order of the index. Both carry hashes. Any write takes the seal off.
"""

import hashlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Self

from pydantic import Field, ValidationError, model_validator

from cache_schema.common.errors import StoreError
from cache_schema.common.stored_json import read_object
from cache_schema.common.strict import Strict, later, refusal
from cache_schema.common.text.counts import counted
from cache_schema.files.lines import Lines
from cache_schema.files.locate import open_writable
from cache_schema.files.objects import Objects, Stamp
from cache_schema.files.remote.objects import RemoteObjects, at_once, get_all
from cache_schema.files.writable import Writable
from cache_schema.format.canonical import canonical_json, sha256_json
from cache_schema.format.digests.digest import content_digest
from cache_schema.format.identity import VolumeKey
from cache_schema.format.layout import SEALED_INDEX, SEALED_RECORDS, failure_name
from cache_schema.format.limits import MAX_EXTENT, Digest, Row, object_limit
from cache_schema.format.record import Crc32c
from cache_schema.store.commit import parse_raw, unseal
from cache_schema.store.create import load_header, stored_header_hash
from cache_schema.store.packed import is_packed, record_names, stored_records
from cache_schema.store.table import read_volume_table
from cache_schema.store.withdrawn import read_tombstones, refuse_unfinished
from cache_schema.workers.heard import forget_workers


@dataclass(frozen=True, slots=True)
class IndexRow:
    """What the index says of one volume."""

    key: VolumeKey
    row: int
    n_slices: int
    digest: str
    crc32c: Mapping[str, int]
    """By array; empty where the record is one of before it stated any."""


def index_row(raw: Mapping[str, Any]) -> IndexRow:
    """What the index says of the volume of a record, given as JSON data.

    Raises:
        KeyError, TypeError, ValueError: If it lacks a field.
    """
    key = VolumeKey(*(str(raw[name]) for name in ("participant_id", "session_id", "volume_id")))
    crcs = {sys.intern(name): int(proof["crc32c"]) for name, proof in raw.get("arrays", {}).items()}
    return IndexRow(key, int(raw["row"]), len(raw["slices"]["index"]), str(raw["digest"]), crcs)


class SealedIndex(Strict):
    """The columns of a sealed store, sorted by key."""

    participant_id: tuple[str, ...]
    session_id: tuple[str, ...]
    volume_id: tuple[str, ...]
    row: tuple[Row, ...]
    n_slices: tuple[Annotated[int, Field(ge=1, le=MAX_EXTENT)], ...]
    digest: tuple[Digest, ...]
    content_digest: Digest
    header_sha256: Digest
    records_sha256: Digest
    crc32c: dict[str, tuple[Crc32c | None, ...]] = later({})
    """By array, what the record states; None where it states nothing."""
    sha256: Digest = ""

    @model_validator(mode="after")
    def _columns_agree(self) -> Self:
        lengths = {
            name: len(getattr(self, name))
            for name in ("participant_id", "session_id", "volume_id", "row", "n_slices", "digest")
        }
        lengths |= {f"crc32c of {name}": len(column) for name, column in self.crc32c.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"its columns have different lengths {lengths}")
        return self


def read_sealed_index(objects: Objects) -> SealedIndex | None:
    """The index of a sealed store whose header was read; None when it is not sealed.

    Raises:
        StoreError: If it is damaged or belongs to another header.
    """
    data = objects.get(SEALED_INDEX)
    if data is None:
        return None
    advice = "delete the folder `sealed` and seal the store again"
    try:
        raw = read_object(data, object_limit(SEALED_INDEX))
        right = raw["sha256"] == _hash(raw)
        index = SealedIndex.model_validate(raw)
    except ValidationError as error:
        raise StoreError(f"{refusal(error, SEALED_INDEX)}; or {advice}") from error
    except (ValueError, KeyError) as error:
        raise StoreError(f"{SEALED_INDEX} cannot be read: it is damaged ({error}); {advice}") from error
    if not right:
        raise StoreError(f"{SEALED_INDEX} does not match its own hash; {advice}")
    if index.header_sha256 != stored_header_hash(objects):
        raise StoreError(f"{SEALED_INDEX} belongs to another header; {advice}")
    return index


def read_sealed_records(objects: Objects, n: int) -> Lines:
    """The records of a sealed store as JSON lines, in the order of the index.

    Raises:
        StoreError: If they are missing or not as many as the index has.
    """
    lines = Lines(objects, SEALED_RECORDS)
    if len(lines) != n:
        raise StoreError(
            f"{SEALED_RECORDS} has {len(lines)} records, not {n}; delete the folder `sealed` and seal again"
        )
    return lines


def seal(location: str) -> None:
    """Gather all records and mark the store complete.

    Raises:
        StoreError: If it is no folder store, a record is damaged, a volume of the table is neither
            committed nor failed, it still holds somebody who was withdrawn, or somebody writes meanwhile.
    """
    objects = open_writable(location, "seal")
    if objects is None:
        raise StoreError(f"there is no store at {location!r}")
    load_header(objects, location)
    if not is_packed(objects):
        unseal(objects)
    before = _snapshot(objects)
    rows, body = _gathered(objects)
    require_complete(objects, location, {row.key for row in rows})
    refuse_unfinished(read_tombstones(objects), location, (row.key.participant_id for row in rows))
    objects.put(SEALED_RECORDS, body)
    index = sealed_index(rows, stored_header_hash(objects), hashlib.sha256(body).hexdigest())
    objects.put(SEALED_INDEX, canonical_json(index))
    with objects.together():
        forget_workers(objects)
    # A writer unseals before and after each record; this look covers one that did so before the put.
    if _snapshot(objects) != before or objects.get(SEALED_RECORDS) != body:
        unseal(objects)
        raise StoreError(f"{location!r} is being written to; seal it when that is done")


def _gathered(objects: Objects) -> tuple[list[IndexRow], bytes]:
    """The rows of the index and the records' lines, both sorted by key, with one record in memory at a time.

    Raises:
        StoreError: If a record is damaged.
    """
    found = []
    for name, data in stored_records(objects):
        raw = parse_raw(data, name)
        found.append((index_row(raw), canonical_json(raw)))
    found.sort(key=lambda pair: pair[0].key)
    return [row for row, _ in found], b"\n".join(line for _, line in found)


def sealed_index(rows: Sequence[IndexRow], header_sha256: str, records_sha256: str) -> dict[str, Any]:
    """The columns of all records, sorted by key, with the hash over them."""
    index: dict[str, Any] = {
        "participant_id": [row.key.participant_id for row in rows],
        "session_id": [row.key.session_id for row in rows],
        "volume_id": [row.key.volume_id for row in rows],
        "row": [row.row for row in rows],
        "n_slices": [row.n_slices for row in rows],
        "digest": [row.digest for row in rows],
        "content_digest": content_digest((row.key, row.digest) for row in rows),
        "header_sha256": header_sha256,
        "records_sha256": records_sha256,
    }
    if names := sorted({name for row in rows for name in row.crc32c}):
        index["crc32c"] = {name: [row.crc32c.get(name) for row in rows] for name in names}
    return index | {"sha256": sha256_json(index)}


def require_complete(objects: Objects, location: str, committed: set[VolumeKey]) -> None:
    """Refuse to call a store complete while volumes of its table are open, or a removal is unfinished."""
    rows = read_volume_table(objects).volumes()
    refuse_unfinished(read_tombstones(objects), location, (row.participant_id for row in rows))
    left = {failure_name(row.key): row.key for row in rows if row.key not in committed}
    pending = [left[name] for name, data in get_all(objects, left) if data is None]
    if pending:
        raise StoreError(
            f"{location!r} is not complete: {counted(len(pending), 'volume')} neither committed nor failed, "
            f"the first {pending[0]}; run the extraction again, then seal"
        )


def _snapshot(objects: Writable) -> dict[str, Stamp]:
    """Which records there are, and which object each is: a replaced record is another one."""
    names = record_names(objects)
    if isinstance(objects, RemoteObjects):
        return dict(at_once(objects.stamp, names))
    return {name: objects.stamp(name) for name in names}


def _hash(raw: dict[str, Any]) -> str:
    """The hash that an index should carry."""
    return sha256_json({name: value for name, value in raw.items() if name != "sha256"})
