"""How a packed store is marked, and its records, gathered in one object.

`packed.json` marks a packed store, which is read only. Records stand in `packed/records.jsonl` alone: a
line with their number and hash, then one line per committed volume, `<key hash> <record>`, sorted.
"""

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any
from weakref import WeakKeyDictionary

from cache_schema.common.errors import StoreError
from cache_schema.common.problem import RESTORE
from cache_schema.common.stored_json import read_json
from cache_schema.files.objects import Objects
from cache_schema.format.canonical import canonical_json
from cache_schema.format.identity import VolumeKey
from cache_schema.format.layout import RECORDS, record_name
from cache_schema.format.limits import HEX_DIGEST

MARK = "packed.json"
PACK_FORMAT = "slicecache-pack"
PACKED_RECORDS = "packed/records.jsonl"

_LINES: "WeakKeyDictionary[Any, dict[str, bytes]]" = WeakKeyDictionary()
"""Records by key hash of packed stores that are open: gathered once, since thousands are asked for."""


def is_packed(objects: Objects) -> bool:
    """Whether a store is packed."""
    return objects.get(MARK) is not None


def require_unpacked(objects: Objects, location: str) -> None:
    """Refuse to write to a packed store.

    Raises:
        StoreError: If it is packed.
    """
    if is_packed(objects):
        raise StoreError(
            f"{location!r} is packed and read only, since two writers of one shard would lose data: run "
            f"`slicecache cache unpack {location}` first, and pack it again afterwards"
        )


def put_lines(objects: Objects, records: Mapping[str, bytes]) -> None:
    """Write all records, given by key hash, in one step, under a line that holds them to a hash."""
    body = b"".join(f"{digest} ".encode() + records[digest] + b"\n" for digest in sorted(records))
    objects.put(PACKED_RECORDS, canonical_json(_state(body)) + b"\n" + body)
    _LINES.pop(objects, None)


def put_mark(objects: Objects, shard_volumes: int) -> None:
    """Mark a store as packed."""
    objects.put(MARK, canonical_json({"format": PACK_FORMAT, "version": 1, "shard_volumes": shard_volumes}))


def _state(body: bytes) -> dict[str, Any]:
    """What the first line says of the others."""
    return {"n_records": body.count(b"\n"), "sha256": hashlib.sha256(body).hexdigest()}


def check_lines(objects: Objects) -> Iterator[str]:
    """What is wrong with the gathered records as a whole; nothing in a store that is not packed."""
    if not is_packed(objects):
        if objects.get(PACKED_RECORDS) is not None:
            yield f"{MARK} is missing, but {PACKED_RECORDS} is there"
        return
    first, _, body = (objects.get(PACKED_RECORDS) or b"").partition(b"\n")
    try:
        stated = read_json(first)
    except ValueError:
        stated = None
    if stated != _state(body):
        yield f"{PACKED_RECORDS} is missing, or not what its first line says: it was edited or damaged"


def packed_lines(objects: Objects) -> dict[str, bytes]:
    """Records of a packed store by key hash, as they stand; empty in a store that is not packed.

    Raises:
        StoreError: If a line does not begin with a key hash (it becomes a file name), or one stands twice.
    """
    if objects not in _LINES:
        lines = (objects.get(PACKED_RECORDS) or b"").split(b"\n")[1:] if is_packed(objects) else []
        found: dict[str, bytes] = {}
        for number, line in enumerate(lines, start=2):
            digest, _, body = line.partition(b" ")
            name = digest.decode("ascii", "replace")
            if line and (HEX_DIGEST.fullmatch(name) is None or name in found):
                why = "stands there twice" if name in found else "is no key hash"
                raise StoreError(f"{PACKED_RECORDS}, line {number}: {name[:70]!r} {why}; {RESTORE}")
            if line:
                found[name] = body
        _LINES[objects] = found
    return _LINES[objects]


def stored_record(objects: Objects, key: VolumeKey) -> bytes | None:
    """A record as it is stored, or None."""
    data = objects.get(record_name(key))
    return packed_lines(objects).get(key.digest) if data is None else data


def stored_records(objects: Objects) -> Iterator[tuple[str, bytes]]:
    """Every record with its object name (in a packed store, the name it would have)."""
    for name in objects.list(RECORDS):
        data = objects.get(name)
        if data is not None:
            yield name, data
    for digest, body in packed_lines(objects).items():
        yield f"{RECORDS}/{digest[:2]}/{digest}.json", body
