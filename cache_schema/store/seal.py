"""Sealing: all records gathered in two objects, so that a store of 10,000 volumes opens at once.

`sealed/index.json` holds one short column per field that a cohort needs; `sealed/records.jsonl` all
records, one per line in the order of the index. Both carry hashes. Any write takes the seal off.
"""

import hashlib
from typing import Annotated, Any, Self

from pydantic import Field, ValidationError, model_validator

from cache_schema.common.errors import StoreError
from cache_schema.common.stored_json import read_object
from cache_schema.common.strict import Strict, refusal
from cache_schema.files.locate import open_objects
from cache_schema.files.objects import LocalObjects, Objects
from cache_schema.format.canonical import canonical_json, sha256_json
from cache_schema.format.digest import content_digest
from cache_schema.format.identity import VolumeKey
from cache_schema.format.layout import RECORDS, SEALED_INDEX, SEALED_RECORDS, failure_name
from cache_schema.format.limits import MAX_EXTENT, Digest, Row, object_limit
from cache_schema.store.commit import parse_raw, unseal
from cache_schema.store.create import load_header, stored_header_hash
from cache_schema.store.packed import is_packed, stored_records
from cache_schema.store.table import read_volume_table


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
    sha256: Digest = ""

    @model_validator(mode="after")
    def _columns_agree(self) -> Self:
        lengths = {
            name: len(getattr(self, name))
            for name in ("participant_id", "session_id", "volume_id", "row", "n_slices", "digest")
        }
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


def read_sealed_records(objects: Objects, n: int) -> list[bytes]:
    """The records of a sealed store as JSON lines, in the order of the index.

    Raises:
        StoreError: If they are missing or not as many as the index has.
    """
    lines = (objects.get(SEALED_RECORDS) or b"").splitlines()
    if len(lines) != n:
        raise StoreError(
            f"{SEALED_RECORDS} has {len(lines)} records, not {n}; delete the folder `sealed` and seal again"
        )
    return lines


def seal(location: str) -> None:
    """Gather all records and mark the store complete.

    Raises:
        StoreError: If it is no folder store, a record is damaged, a volume of the table is neither
            committed nor failed, or somebody writes meanwhile.
    """
    objects = open_objects(location)
    if objects is None:
        raise StoreError(f"there is no store at {location!r}")
    if not isinstance(objects, LocalObjects):
        raise StoreError(f"{location!r} is opened for reading only; seal the folder it was made from")
    load_header(objects, location)
    if not is_packed(objects):
        unseal(objects)
    before = _snapshot(objects)
    raws = [parse_raw(data, name) for name, data in stored_records(objects)]
    raws.sort(key=_key)
    require_complete(objects, location, {_key(raw) for raw in raws})
    body = b"\n".join(canonical_json(raw) for raw in raws)
    objects.put(SEALED_RECORDS, body)
    index = sealed_index(raws, stored_header_hash(objects), hashlib.sha256(body).hexdigest())
    objects.put(SEALED_INDEX, canonical_json(index))
    # A writer unseals before and after each record; this look covers one that did so before the put.
    if _snapshot(objects) != before:
        unseal(objects)
        raise StoreError(f"{location!r} is being written to; seal it when that is done")


def sealed_index(raws: list[dict[str, Any]], header_sha256: str, records_sha256: str) -> dict[str, Any]:
    """The columns of all records, sorted by key, with the hash over them."""
    index = {
        "participant_id": [raw["participant_id"] for raw in raws],
        "session_id": [raw["session_id"] for raw in raws],
        "volume_id": [raw["volume_id"] for raw in raws],
        "row": [raw["row"] for raw in raws],
        "n_slices": [len(raw["slices"]["index"]) for raw in raws],
        "digest": [raw["digest"] for raw in raws],
        "content_digest": content_digest((_key(raw), raw["digest"]) for raw in raws),
        "header_sha256": header_sha256,
        "records_sha256": records_sha256,
    }
    return index | {"sha256": sha256_json(index)}


def require_complete(objects: Objects, location: str, committed: set[VolumeKey]) -> None:
    """Refuse to call a store complete while volumes of its table are open."""
    pending = [
        row.key
        for row in read_volume_table(objects).volumes()
        if row.key not in committed and objects.get(failure_name(row.key)) is None
    ]
    if pending:
        raise StoreError(
            f"{location!r} is not complete: {len(pending)} volumes are neither committed nor failed, the "
            f"first {pending[0]}; run the extraction again, then seal"
        )


def _snapshot(objects: LocalObjects) -> dict[str, tuple[int, int] | None]:
    """Which records there are, and which file each is: a replaced record is another file."""
    return {name: objects.stamp(name) for name in objects.list(RECORDS)}


def _key(raw: dict[str, Any]) -> VolumeKey:
    """The key of a record's JSON data."""
    return VolumeKey(raw["participant_id"], raw["session_id"], raw["volume_id"])


def _hash(raw: dict[str, Any]) -> str:
    """The hash that an index should carry."""
    return sha256_json({name: value for name, value in raw.items() if name != "sha256"})
