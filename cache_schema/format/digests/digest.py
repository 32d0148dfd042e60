"""Digests of embeddings: over what was computed, not over how it lies on disk."""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache_schema.format.canonical import canonical_json, sha256_json
from cache_schema.format.identity import VolumeKey


def volume_digest(key: VolumeKey, arrays: Mapping[str, NDArray[Any]]) -> str:
    """SHA-256 over a volume's key and kept numbers.

    The canonical JSON of the key; then, for each array in the order of its name, the canonical JSON of
    `[name, dtype, shape]` followed by the little-endian bytes. Padding, chunks and rows do not matter.

    Args:
        key: The volume's key.
        arrays: By name, kept slices only, `(slice, *rest)` in the storage dtype.
    """
    digest = hashlib.sha256(canonical_json(key.as_list()))
    for name in sorted(arrays):
        array = arrays[name]
        little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        digest.update(canonical_json([name, array.dtype.name, list(array.shape)]))
        digest.update(little.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def content_digest(pairs: Iterable[tuple[VolumeKey, str]]) -> str:
    """SHA-256 over the sorted pairs of key and volume digest: independent of order, shards and time."""
    return sha256_json([[key.as_list(), digest] for key, digest in sorted(pairs)])
