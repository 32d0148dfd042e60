"""Reading commit records back, and the guard that a sealed index never hides a commit."""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from cache_schema.common.errors import StoreError
from cache_schema.common.stored_json import StoredJsonError, read_object
from cache_schema.common.strict import refusal
from cache_schema.files.objects import Objects
from cache_schema.files.remote.objects import RemoteObjects, get_all
from cache_schema.format.canonical import canonical_json, sha256_json
from cache_schema.format.identity import VolumeKey
from cache_schema.format.layout import (
    FAILURES,
    RECORDS,
    SEALED_INDEX,
    SEALED_RECORDS,
    ArrayLayout,
    failure_name,
    record_name,
)
from cache_schema.format.limits import HEX_DIGEST, MAX_EXTENT, MAX_ROWS, object_limit
from cache_schema.format.record import Failure, VolumeRecord
from cache_schema.store.packed import stored_record

PER_SLICE = ("index", "height_mm", "world_z_mm")
"""What a record says of every kept slice."""
REPAIR = "`slicecache extract --replace` embeds its volume again"


def encode_record(record: VolumeRecord) -> bytes:
    """A record as it is stored."""
    return canonical_json(record.model_dump(mode="json"))


def parse_raw(data: bytes, name: str) -> dict[str, Any]:
    """A record as plain JSON data, held against its own hash; much faster than the full model.

    Raises:
        StoreError: If it is no record or does not match its hash.
    """
    try:
        raw = read_object(data, object_limit(RECORDS))
        body = {key: value for key, value in raw.items() if key != "sha256"}
        right = raw["sha256"] == sha256_json(body)
    except (ValueError, KeyError) as error:
        raise StoreError(f"record {name} cannot be read: it is damaged ({error}); {REPAIR}") from error
    if not right:
        raise StoreError(f"record {name} does not match its own hash: it was edited or damaged; {REPAIR}")
    wrong = next(_implausible(raw), "")
    if wrong:
        raise StoreError(f"record {name}: {wrong}")
    return raw


def _implausible(raw: Mapping[str, Any]) -> Iterator[str]:
    """What the fields that volumes are found and read by cannot be, whatever their hash says."""
    names = ("participant_id", "session_id", "volume_id")
    yield from (
        f"{name} is {raw.get(name)!r:.80}, not text" for name in names if type(raw.get(name)) is not str
    )
    row, digest, slices = raw.get("row"), raw.get("digest"), raw.get("slices")
    if type(row) is not int or not 0 <= row < MAX_ROWS:
        yield f"row is {row!r:.80}, not a number from 0 to {MAX_ROWS - 1}"
    if type(digest) is not str or not HEX_DIGEST.fullmatch(digest):
        yield f"digest is {digest!r:.80}, not a SHA-256"
    per_slice = [slices.get(name) if type(slices) is dict else None for name in PER_SLICE]
    lengths = {len(values) if type(values) is list else -1 for values in per_slice}
    if len(lengths) > 1:
        yield f"slice indices, heights and world z have different lengths {sorted(lengths)}"
    elif not 0 < lengths.pop() <= MAX_EXTENT:
        yield f"it must keep from 1 to {MAX_EXTENT} slices"


def parse_record(data: bytes, name: str) -> VolumeRecord:
    """A record, held against its own hash.

    Raises:
        StoreError: If it is no record or does not match its hash.
    """
    raw = parse_raw(data, name)
    try:
        return VolumeRecord.model_validate(raw)
    except ValidationError as error:
        raise StoreError(refusal(error, f"record {name}")) from error


def read_record(objects: Objects, key: VolumeKey) -> VolumeRecord | None:
    """The committed record of a volume, or None."""
    data = stored_record(objects, key)
    return None if data is None else parse_record(data, f"{record_name(key)} ({key})")


def read_failure(objects: Objects, key: VolumeKey) -> Failure | None:
    """Why a volume failed, or None."""
    data = objects.get(failure_name(key))
    return None if data is None else parse_failure(data, failure_name(key))


def parse_failure(data: bytes, name: str) -> Failure:
    """A stored failure.

    Raises:
        StoreError: If it cannot be read.
    """
    try:
        failure = Failure.model_validate(read_object(data, object_limit(FAILURES)))
    except ValidationError as error:
        raise StoreError(f"{refusal(error, f'failure {name}')}; else it is damaged: delete it") from error
    except StoredJsonError as error:
        raise StoreError(f"failure {name} cannot be read: {error}; delete it") from error
    if name != failure_name(failure.key):
        raise StoreError(f"{name} is the failure of another volume, {str(failure.key)!r:.100}; delete it")
    return failure


def read_failures(objects: Objects) -> tuple[Failure, ...]:
    """All failures, sorted by key."""
    found = list(get_all(objects, objects.list(FAILURES)))
    return tuple(
        sorted((parse_failure(data, name) for name, data in found if data is not None), key=lambda f: f.key)
    )


def unseal(objects: Objects) -> None:
    """Take the seal off; the index goes first, so that no reader sees a half-sealed store.

    It goes once more at the end: whoever seals meanwhile looks for the records after putting the index. In a
    bucket a look at the index is enough where there is none: a seal that comes later finds what is written.
    """
    if isinstance(objects, RemoteObjects) and objects.stamp(SEALED_INDEX) is None:
        return
    for name in (SEALED_INDEX, SEALED_RECORDS, SEALED_INDEX):
        objects.delete(name)


def take_back(
    objects: Objects, layouts: Mapping[str, ArrayLayout], record: VolumeRecord, *, whosever: bool
) -> None:
    """Delete what a writer has just committed: its record, then its data.

    Args:
        objects: The store.
        layouts: By array.
        record: As it was put.
        whosever: Delete the volume's record also when another writer put it meanwhile.
    """
    name = record_name(record.key)
    if whosever or objects.get(name) == encode_record(record):
        objects.delete(name)
    unseal(objects)
    for layout in layouts.values():
        for block in range(layout.blocks(layout.shape[1])):
            objects.delete(layout.chunk_name(record.row, block))
