"""One digest over arrays and a description, for files of finished work."""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache_schema.format.canonical import canonical_json


def checksum(arrays: Mapping[str, NDArray[Any]], body: Any = None) -> str:
    """SHA-256 over the numbers in name order and the description.

    Args:
        arrays: By name.
        body: Anything that JSON holds.
    """
    found = hashlib.sha256(canonical_json(body))
    for name in sorted(arrays):
        found.update(f"{name} {arrays[name].dtype} {arrays[name].shape}".encode())
        found.update(np.ascontiguousarray(arrays[name]).tobytes())
    return found.hexdigest()
