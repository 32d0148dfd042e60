"""Stored JSON from anybody: one door with caps, before anything is made of it.

What comes in may have been made to hurt: nested until the stack ends, a key twice (two readers would take two
different values), NaN where numbers are, a number of a million digits. Ours never has any of these.
"""

import json
import re
from collections.abc import Iterable
from itertools import chain
from typing import Any

MEBIBYTE = 1024 * 1024
MAX_BYTES = 16 * MEBIBYTE
"""Of one value, where the reader says nothing else."""
MAX_DEPTH = 64
"""Lists and objects inside one another; what this program writes has less than 16."""
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


class StoredJsonError(ValueError):
    """Bytes that are not the JSON that they should be; the sentence says why, and not whose they are."""


def read_json(data: bytes, limit: int = MAX_BYTES) -> Any:
    """Read one JSON value from bytes that anybody may have written.

    Args:
        data: UTF-8.
        limit: Bytes that it may have at most.

    Raises:
        StoredJsonError: If it is too long, nested too deeply, has a key twice or a constant such as NaN,
            or is no JSON.
    """
    if len(data) > limit:
        raise StoredJsonError(f"it has {len(data)} bytes, {limit} at most are read")
    try:
        # Python would take UTF-16 and halves of surrogate pairs from bytes.
        value = json.loads(data.decode(), object_pairs_hook=_without_doubles, parse_constant=_refuse_constant)
    except RecursionError:
        raise StoredJsonError(f"it is nested more than {MAX_DEPTH} deep") from None
    except StoredJsonError:
        raise
    except ValueError as error:
        raise StoredJsonError(f"it is no JSON ({_short(error)})") from None
    # Brackets bound the depth from above, and most values need no second look.
    if data.count(b"[") + data.count(b"{") > MAX_DEPTH and _is_deep(value):
        raise StoredJsonError(f"it is nested more than {MAX_DEPTH} deep")
    if _SURROGATE.search(data) is not None:
        _refuse_half_characters(value)
    return value


def read_object(data: bytes, limit: int = MAX_BYTES) -> dict[str, Any]:
    """Read one JSON object, as `read_json`.

    Raises:
        StoredJsonError: As there, or if it is another kind of value.
    """
    value = read_json(data, limit)
    if not isinstance(value, dict):
        raise StoredJsonError(f"it is a {type(value).__name__}, not an object")
    return value


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose keys all differ."""
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise StoredJsonError(f"it has the key {twice[:80]!r} twice")
    return found


def _refuse_constant(word: str) -> Any:
    """NaN and infinity are no JSON, though Python reads them."""
    raise StoredJsonError(f"it holds {word}, which is no JSON")


def _is_deep(value: Any) -> bool:
    """Whether containers stand inside one another more than `MAX_DEPTH` deep; level by level."""
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        level = [inner for inner in chain.from_iterable(map(_inside, level)) if type(inner) in (list, dict)]
        if not level:
            return False
    return True


def _inside(value: Any) -> Iterable[Any]:
    """What a container holds."""
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def _refuse_half_characters(value: Any) -> None:
    """Half a surrogate pair is no character: no UTF-8 holds it, so it could neither be hashed nor printed."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise StoredJsonError("it holds half of a surrogate pair, which is no character") from None


def _short(error: Exception) -> str:
    """The beginning of somebody else's message."""
    return " ".join(str(error).split())[:120]
