"""How a packed store is marked, and its records, gathered in one object.

`packed.json` marks a packed store, which is read only. Records stand in `packed/records.jsonl` alone: a
line with their number and hash, then one line per committed volume, `<key hash> <record>`, sorted.
"""

import contextlib
import hashlib
from collections.abc import Iterator, Mapping
from typing import Any
from weakref import WeakKeyDictionary

from cache_schema.common.errors import StoreError
from cache_schema.common.problem import RESTORE
from cache_schema.common.stored_json import read_json
from cache_schema.files.objects import Objects
from cache_schema.files.remote.objects import RemoteObjects, get_all
from cache_schema.format.canonical import canonical_json
from cache_schema.format.identity import VolumeKey
from cache_schema.format.layout import RECORDS, SEALED_INDEX, SEALED_RECORDS, record_name
from cache_schema.format.limits import HEX_DIGEST
from cache_schema.store.table import read_volume_table

MARK = "packed.json"
PACK_FORMAT = "slicecache-pack"
PACKED_RECORDS = "packed/records.jsonl"

_LINES: "WeakKeyDictionary[Any, dict[str, bytes]]" = WeakKeyDictionary()
"""Records by key hash of packed stores that are open: gathered once, since thousands are asked for."""

_PACKED: "WeakKeyDictionary[Any, bool]" = WeakKeyDictionary()
_SEALED: "WeakKeyDictionary[Any, dict[str, bytes]]" = WeakKeyDictionary()
FEW = 1000
"""Records that a listing may lack and that are asked for all the same."""
KEY_FIELDS = ("participant_id", "session_id", "volume_id")


def is_packed(objects: Objects) -> bool:
    """Whether a store is packed; behind a URL it is neither packed nor unpacked, and asked once."""
    if not isinstance(objects, RemoteObjects):
        return objects.get(MARK) is not None
    if objects not in _PACKED:
        _PACKED[objects] = objects.get(MARK) is not None
    return _PACKED[objects]


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


def sealed_lines(objects: RemoteObjects) -> dict[str, bytes]:
    """Records of a sealed store behind a URL by key hash; empty in a store that is not sealed."""
    if objects not in _SEALED:
        found = {}
        # Without the index they are what an interrupted seal left, or one that was taken off.
        sealed = not objects.lists or objects.stamp(SEALED_INDEX) is not None
        body = objects.get(SEALED_RECORDS) if sealed else None
        for line in (body or b"").splitlines():
            with contextlib.suppress(ValueError, KeyError, TypeError):  # else it is looked for by its name
                raw = read_json(line, len(line))
                found[VolumeKey(*(raw[part] for part in KEY_FIELDS)).digest] = line
        _SEALED[objects] = found
    return _SEALED[objects]


def stored_record(objects: Objects, key: VolumeKey) -> bytes | None:
    """A record as it is stored, or None.

    Behind a URL a sealed store's records are read at once from their copies in the seal.
    """
    if (
        isinstance(objects, RemoteObjects)
        and objects.keeps
        and key.digest in (sealed := sealed_lines(objects))
    ):
        return sealed[key.digest]
    data = objects.get(record_name(key))
    return packed_lines(objects).get(key.digest) if data is None else data


def stored_object(objects: Objects, name: str) -> bytes | None:
    """A record by its object name (in a packed store, the name it would have), or None."""
    data = objects.get(name)
    return packed_lines(objects).get(name.rpartition("/")[2].removesuffix(".json")) if data is None else data


def record_names(objects: Objects) -> list[str]:
    """Names under which there may be records: as listed, and in a bucket those of the table's rows, too.

    A bucket may take a while to list what is there already. A reader does not ask for thousands of volumes
    that are most likely not done yet; who is going to seal does.
    """
    names = objects.list(RECORDS)
    if not isinstance(objects, RemoteObjects) or not objects.lists or is_packed(objects):
        return names
    with contextlib.suppress(StoreError):  # a damaged table is somebody else's to tell
        late = {record_name(key) for key in read_volume_table(objects).index} - set(names)
        if len(late) <= FEW or not objects.keeps:
            return sorted((*names, *late))
    return names


def stored_records(objects: Objects) -> Iterator[tuple[str, bytes]]:
    """Every record with its object name (in a packed store, the name it would have)."""
    for name, data in get_all(objects, record_names(objects)):
        if data is not None:
            yield name, data
    for digest, body in packed_lines(objects).items():
        yield f"{RECORDS}/{digest[:2]}/{digest}.json", body
