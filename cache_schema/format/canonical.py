"""Canonical JSON and its SHA-256: the one way in which this format turns a value into a hash."""

import hashlib
import json
from typing import Any

from cache_schema.common.stored_json import read_json


def canonical_json(value: Any) -> bytes:
    """Encode JSON data as UTF-8 with sorted keys, no spaces and no NaN.

    Floats are written by Python's shortest round-trip form, so equal float64 values give equal bytes.

    Raises:
        ValueError: If a float is NaN or infinite.
    """
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def sha256_json(value: Any) -> str:
    """SHA-256 (64 hex digits) of the canonical JSON of a value."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def is_canonical(data: bytes) -> bool:
    """Whether stored bytes are the canonical JSON of what they say.

    What is not was edited: the 17th digit of a number may change without changing the number, and so no
    hash. What a model would make of them does not matter, so that a store may hold more or less than it.
    """
    try:
        return data == canonical_json(read_json(data, len(data)))
    except ValueError:
        return False
