"""What one array of one volume comes to: checksums that numbers in another place do not have.

Each is taken over a *seed*, the canonical JSON of who the numbers belong to, followed by the little-endian
bytes of the kept slices in C order:

- an array: `[participant_id, session_id, volume_id, array, dtype, [slices, *item_shape]]`
- a block of an array, some slices from `first` on: the same list with `first` behind it

Padding, chunks and rows do not matter, as for the volume digest; the names in the seed do, so that equal
numbers of two volumes, arrays or blocks have different checksums.
"""

import hashlib
from json.encoder import encode_basestring
from typing import Any

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from cache_schema.format.canonical import canonical_json
from cache_schema.format.digests.crc import crc32c, joined
from cache_schema.format.header import ArraySpec
from cache_schema.format.identity import VolumeKey
from cache_schema.format.record import ArrayProof


def seed(key: VolumeKey, spec: ArraySpec, n_slices: int, first: int | None = None) -> bytes:
    """Who kept bytes belong to: a volume's array, or its block that begins at the slice `first`."""
    return key_text(key.participant_id, key.session_id, key.volume_id) + array_text(spec, n_slices, first)


def key_text(participant_id: str, session_id: str, volume_id: str) -> bytes:
    """The beginning of a seed."""
    # A tenth of what `canonical_json` takes, and the same bytes: 1,000 are made before a cohort is read.
    return f"[{','.join(map(encode_basestring, (participant_id, session_id, volume_id)))}".encode()


def array_text(spec: ArraySpec, n_slices: int, first: int | None = None) -> bytes:
    """The rest of a seed, equal for all volumes of one length."""
    which = [spec.name, spec.dtype, [n_slices, *spec.item_shape]]
    return b"," + canonical_json(which if first is None else [*which, first])[1:]


def seeded(seed: bytes, crc: int, n_bytes: int) -> int:
    """The crc32c of a seed followed by `n_bytes` that come to `crc` by themselves."""
    return joined(int(google_crc32c.value(seed)), crc, n_bytes)


def array_sha256(key: VolumeKey, spec: ArraySpec, values: NDArray[Any]) -> str:
    """SHA-256 over the seed and the kept bytes, `(slice, *item_shape)` in the storage dtype."""
    digest = hashlib.sha256(seed(key, spec, len(values)))
    digest.update(_little(spec, values).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def prove_array(key: VolumeKey, spec: ArraySpec, values: NDArray[Any], block_slices: int) -> ArrayProof:
    """What an array comes to.

    Args:
        key: The volume's.
        spec: The array.
        values: Kept slices, `(slice, *item_shape)` in the storage dtype.
        block_slices: Slices in a chunk; with more slices than that, each block has a checksum of its own.
    """
    little, n = _little(spec, values), len(values)
    parts = [little[first : first + block_slices] for first in range(0, n, block_slices)]
    raw = [crc32c(part) for part in parts]
    whole = 0
    for part, crc in zip(parts, raw, strict=True):
        whole = joined(whole, crc, part.nbytes)
    proof = ArrayProof(
        sha256=array_sha256(key, spec, values),
        crc32c=seeded(seed(key, spec, n), whole, little.nbytes),
    )
    if len(parts) < 2:
        return proof
    blocks = tuple(
        seeded(seed(key, spec, n, place * block_slices), crc, part.nbytes)
        for place, (part, crc) in enumerate(zip(parts, raw, strict=True))
    )
    return proof.model_copy(update={"block_slices": block_slices, "blocks": blocks})


def _little(spec: ArraySpec, values: NDArray[Any]) -> NDArray[Any]:
    """Contiguous, little endian."""
    return np.ascontiguousarray(values, dtype=np.dtype(spec.dtype).newbyteorder("<"))
