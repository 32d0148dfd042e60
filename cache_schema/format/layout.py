"""Where everything lies in a store: arrays and their chunks, and the named objects beside them.

- `zarr.json`: group metadata with the marker `slicecache`
- `header.json`: the header and its hash
- `numerics.json`: the numerics that the first process which embedded fixed for all
- `<array>/zarr.json`: metadata of one array, dims (volume, slice, *rest)
- `<array>/c.V.S.0[.0...]`: one chunk, of volume row V and slice block S
- `table/000000.json`: segments of the volume table
- `records/ab/<key>.json`: commit records; `failures/<key>.json`: volumes that failed
- `previews/ab/<key>.png`: what the backbone saw
- `withdrawn/<salted hash>.json`: tombstones of participants who were withdrawn
- `workers/<16 hex>.json`: heartbeats of who is at work; in no digest
- `sealed/`: the index of a complete store
- `tmp/`: writes that are not finished; never read
"""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from pydantic import ValidationError

from cache_schema.common.errors import ConfigError, StoreError
from cache_schema.common.strict import refusal
from cache_schema.format.array_metadata import read_metadata
from cache_schema.format.header import ArraySpec, FloatName, Header
from cache_schema.format.identity import VolumeKey
from cache_schema.format.limits import MAX_SHARD_VOLUMES, MAX_STORED_CHUNK

HEADER = "header.json"
NUMERICS = "numerics.json"
MARKER = "slicecache"
TABLE = "table"
RECORDS = "records"
FAILURES = "failures"
PREVIEWS = "previews"
WITHDRAWN = "withdrawn"
WORKERS = "workers"
SEALED_INDEX = "sealed/index.json"
SEALED_RECORDS = "sealed/records.jsonl"

TOKENS = ("cls", "patch_mean", "patches", "cls_attention", "pooled", "registers")
INNER_PATCHES = re.compile(r"patches_l(0[1-9]|[1-9][0-9])")
"""Patch tokens behind an inner block, counted from 1: `patches_l08`."""
MAX_CHUNK_BYTES = 4 * 1024 * 1024


def token_arrays(
    tokens: Sequence[str],
    *,
    dim: int,
    heads: int,
    grid: tuple[int, int],
    dtype: FloatName,
    layers: Sequence[int] = (),
    registers: int = 0,
) -> tuple[ArraySpec, ...]:
    """The arrays that a choice of tokens needs.

    Args:
        tokens: Of `TOKENS`, and patch tokens of inner blocks, `patches_l08`.
        dim: Width of a token.
        heads: Attention heads of the last block.
        grid: Rows and columns of patches.
        dtype: Storage dtype of tokens; attention, foreground and intensity are always float16.
        layers: Blocks whose CLS token is kept beside the last one, one array each (`cls_l08`).
        registers: Register tokens of the backbone.

    Raises:
        ConfigError: If a token is unknown, named twice, or none is named.
    """
    inner = [name for name in tokens if INNER_PATCHES.fullmatch(name)]
    if not tokens or len(set(tokens)) < len(tokens) or not set(tokens) <= {*TOKENS, *inner}:
        every = f"{', '.join(TOKENS)} (or patches_l08, of an inner block)"
        raise ConfigError(f"tokens must name each of {every} at most once, not {list(tokens)!r}")
    row_col = ("volume", "slice", "row", "col")
    token = (("volume", "slice", "dim"), (dim,), dtype)
    # As plain parts first: a backbone without heads has no such array to be described.
    known: dict[str, tuple[tuple[str, ...], tuple[int, ...], FloatName]] = {
        "cls": token,
        "patch_mean": token,
        "patches": ((*row_col, "dim"), (*grid, dim), dtype),
        "cls_attention": (("volume", "slice", "head", "row", "col"), (heads, *grid), "float16"),
        "pooled": token,
        "registers": (("volume", "slice", "register", "dim"), (registers, dim), dtype),
    }
    parts = [(name, known[name]) for name in TOKENS if name in tokens]
    parts += [(f"cls_l{layer:02d}", token) for layer in sorted(set(layers))]
    parts += [(name, known["patches"]) for name in sorted(inner)]
    if inner or {"patches", "cls_attention"} & set(tokens):
        parts += [(name, (row_col, grid, "float16")) for name in ("foreground", "patch_intensity")]
    try:
        return tuple(
            ArraySpec(name=name, dims=dims, item_shape=shape, dtype=kind)
            for name, (dims, shape, kind) in parts
        )
    except ValidationError as error:
        raise ConfigError(refusal(error, "the array that these tokens need")) from error


def patch_layers(names: Iterable[str]) -> tuple[int, ...]:
    """Inner blocks whose patch tokens are among some arrays.

    Example:
        >>> patch_layers(["patches_l11", "cls_l04", "patches", "patches_l08"])
        (8, 11)
    """
    return tuple(sorted(int(found[1]) for found in map(INNER_PATCHES.fullmatch, names) if found))


def item_bytes(spec: ArraySpec) -> int:
    """Bytes of one slice of an array."""
    return math.prod(spec.item_shape) * np.dtype(spec.dtype).itemsize


def chunk_slices(header: Header, spec: ArraySpec) -> int:
    """Slices in a chunk: a whole volume, or as many as fit 4 MiB (at least one)."""
    return slices_of_chunk(header.slice_chunk, spec)


def slices_of_chunk(longest: int, spec: ArraySpec) -> int:
    """The same by the most slices of a volume, which a header that is not there yet would say."""
    return min(longest, max(1, MAX_CHUNK_BYTES // item_bytes(spec)))


def record_name(key: VolumeKey) -> str:
    """Object name of a commit record."""
    return f"{RECORDS}/{key.digest[:2]}/{key.digest}.json"


def failure_name(key: VolumeKey) -> str:
    """Object name of a failure."""
    return f"{FAILURES}/{key.digest}.json"


def preview_name(key: VolumeKey) -> str:
    """Object name of a preview."""
    return f"{PREVIEWS}/{key.digest[:2]}/{key.digest}.png"


def tombstone_name(salted_hash: str) -> str:
    """Object name of a tombstone."""
    return f"{WITHDRAWN}/{salted_hash}.json"


def metadata_name(array: str) -> str:
    """Object name of an array's Zarr metadata."""
    return f"{array}/zarr.json"


@dataclass(frozen=True)
class ArrayLayout:
    """How one array is stored, read from its Zarr metadata and not from what a writer would have done."""

    spec: ArraySpec
    shape: tuple[int, ...]
    """Extents of all axes, `volume` and `slice` first."""
    chunk_slices: int
    plain: bool
    """One chunk is one object holding one volume's block as little-endian numbers and their crc32c."""
    shard_volumes: int = 0
    """Volumes whose chunks lie in one object, a shard; 0: plain."""

    @property
    def chunk_shape(self) -> tuple[int, ...]:
        """Shape of one volume's block: `(slice, *rest)`."""
        return (self.chunk_slices, *self.spec.item_shape)

    @cached_property
    def chunk_bytes(self) -> int:
        """Bytes of one volume's block without its checksum."""
        return self.chunk_slices * item_bytes(self.spec)

    @property
    def dtype(self) -> "np.dtype[Any]":
        """Little-endian storage dtype."""
        return np.dtype(self.spec.dtype).newbyteorder("<")

    def chunk_name(self, row: int, block: int) -> str:
        """Object name of a chunk."""
        return f"{self.spec.name}/c.{row}.{block}" + ".0" * len(self.spec.item_shape)

    def shard_name(self, row: int) -> str:
        """Object name of the shard that holds a row."""
        return f"{self.spec.name}/c.{row // self.shard_volumes}.0" + ".0" * len(self.spec.item_shape)

    def object_name(self, row: int, block: int) -> str:
        """Object that holds a chunk: the chunk itself, or the shard that it lies in."""
        return self.shard_name(row) if self.shard_volumes else self.chunk_name(row, block)

    def blocks(self, n_slices: int) -> int:
        """Chunks that hold the first `n_slices` slices of a volume."""
        return -(-n_slices // self.chunk_slices)


PLAIN_CODECS = [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}]


def parse_layout(spec: ArraySpec, metadata: bytes | None) -> ArrayLayout:
    """Read an array's Zarr metadata and hold it against the header; only what this format writes is read.

    Raises:
        StoreError: If it is missing, unreadable, says another dtype or shape than the header, or stores the
            array otherwise than as plain chunks or shards of them.
    """
    if metadata is None:
        raise StoreError(f"array {spec.name!r}: its metadata {metadata_name(spec.name)} is missing")
    shape, chunk, codecs = read_metadata(spec, metadata)
    inner = shard_inner(codecs, chunk)
    if inner is not None and chunk[1] >= shape[1] and chunk[0] <= MAX_SHARD_VOLUMES:
        layout = ArrayLayout(spec, shape, inner, plain=False, shard_volumes=chunk[0])
    elif codecs == PLAIN_CODECS and chunk[0] == 1:
        layout = ArrayLayout(spec, shape, chunk[1], plain=True)
    else:
        names = ", ".join([repr(codec.get("name"))[:40] for codec in codecs][:4])
        raise StoreError(
            f"array {spec.name!r}: its chunks of {chunk[0]} volumes are coded as {names}; only plain chunks "
            "(bytes, crc32c) of one volume, and shards of these, are read"
        )
    if layout.chunk_bytes > MAX_STORED_CHUNK:
        raise StoreError(
            f"array {spec.name!r}: a chunk of {layout.chunk_bytes} bytes, {MAX_STORED_CHUNK} at most are read"
        )
    return layout


def shard_codecs(chunk_shape: Sequence[int]) -> list[dict[str, Any]]:
    """Codecs of a packed array: chunks of one volume each, one after another, then their index."""
    configuration = {
        "chunk_shape": list(chunk_shape),
        "codecs": PLAIN_CODECS,
        "index_codecs": PLAIN_CODECS,
        "index_location": "end",
    }
    return [{"name": "sharding_indexed", "configuration": configuration}]


def shard_inner(codecs: Any, shard: Sequence[int]) -> int | None:
    """Slices of a chunk inside a shard of the given shape; None when the codecs are not those of `pack`."""
    try:
        slices = int(codecs[0]["configuration"]["chunk_shape"][1])
    except (KeyError, IndexError, TypeError, ValueError):
        return None
    ours = codecs == shard_codecs((1, slices, *shard[2:])) and slices > 0 and shard[1] % slices == 0
    return slices if ours else None
