"""Reading commit records back, and the guard that a sealed index never hides a commit."""

import json
from typing import Any

from pydantic import ValidationError

from cache_schema.common.errors import StoreError
from cache_schema.common.strict import refusal
from cache_schema.files.objects import Objects
from cache_schema.files.remote.objects import get_all
from cache_schema.format.canonical import canonical_json, sha256_json
from cache_schema.format.identity import VolumeKey
from cache_schema.format.layout import FAILURES, SEALED_INDEX, SEALED_RECORDS, failure_name, record_name
from cache_schema.format.record import Failure, VolumeRecord
from cache_schema.store.packed import stored_record


def encode_record(record: VolumeRecord) -> bytes:
    """A record as it is stored."""
    return canonical_json(record.model_dump(mode="json"))


def parse_raw(data: bytes, name: str) -> dict[str, Any]:
    """A record as plain JSON data, held against its own hash; much faster than the full model.

    Raises:
        StoreError: If it is no record or does not match its hash.
    """
    try:
        raw = json.loads(data)
        body = {key: value for key, value in raw.items() if key != "sha256"}
        right = raw["sha256"] == sha256_json(body)
    except (ValueError, AttributeError, KeyError) as error:
        raise StoreError(f"record {name} cannot be read: it is damaged") from error
    if not right:
        raise StoreError(f"record {name} does not match its own hash: it was edited or damaged")
    return dict(raw)


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
        return Failure.model_validate_json(data)
    except ValidationError as error:
        raise StoreError(f"{refusal(error, f'failure {name}')}; else it is damaged: delete it") from error


def read_failures(objects: Objects) -> tuple[Failure, ...]:
    """All failures, sorted by key."""
    found = list(get_all(objects, objects.list(FAILURES)))
    return tuple(
        sorted((parse_failure(data, name) for name, data in found if data is not None), key=lambda f: f.key)
    )


def unseal(objects: Objects) -> None:
    """Take the seal off; the index goes first, so that no reader sees a half-sealed store."""
    objects.delete(SEALED_INDEX)
    objects.delete(SEALED_RECORDS)
