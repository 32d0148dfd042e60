"""What a reader takes at most, and how names look: a foreign store is hostile until it is read.

Each number is far beyond what this program writes, and small enough that nothing is allocated, walked or
waited for because a stored number says so. SPEC.md lists them under "What a reader must refuse".
"""

import re
from typing import Annotated

from pydantic import Field

from cache_schema.common.stored_json import MEBIBYTE

NAME = r"^[a-z][a-z0-9_]{0,63}$"
"""Of arrays and their dims. Array names become folders, so there is no dot, no slash and no capital."""
RESERVED = frozenset(
    {
        "table", "records", "failures", "previews", "sealed", "packed", "tmp", "withdrawn",
        "checksums", "objects", "zarr", "workers",
    }
)  # fmt: skip
"""Folders that hold something else."""
DIGEST = r"^[0-9a-f]{64}$"
HEX_DIGEST = re.compile(DIGEST)

MAX_ARRAYS = 256
MAX_AXES = 8
MAX_EXTENT = 65_536
"""Slices of a volume, and the length of every axis behind them."""
MAX_SLICE_BYTES = 256 * MEBIBYTE
"""One slice of one array."""
MAX_STORED_CHUNK = 512 * MEBIBYTE
"""Bytes of a chunk, however it was cut; ours have 4 MiB, or one slice (`layout.MAX_CHUNK_BYTES`)."""
MAX_ROWS = 10_000_000
MAX_SHARD_VOLUMES = 4096
MAX_WORKERS = 10_000
"""Heartbeats that are read at a time."""
MAX_WHOLE = 2**63 - 1
"""Of counts and times."""

Row = Annotated[int, Field(ge=0, lt=MAX_ROWS)]
SliceCount = Annotated[int, Field(ge=0, le=MAX_EXTENT)]
SliceIndex = Annotated[int, Field(ge=-MAX_EXTENT, le=2 * MAX_EXTENT)]
Extent = Annotated[int, Field(ge=1, le=MAX_EXTENT)]
Whole = Annotated[int, Field(ge=-MAX_WHOLE, le=MAX_WHOLE)]
Digest = Annotated[str, Field(pattern=DIGEST)]

MAX_OBJECT_BYTES = {
    "zarr.json": MEBIBYTE,
    "header.json": 4 * MEBIBYTE,
    "numerics.json": MEBIBYTE,
    "packed.json": MEBIBYTE,
    "records": 16 * MEBIBYTE,
    "failures": MEBIBYTE,
    "withdrawn": MEBIBYTE,
    "previews": 16 * MEBIBYTE,
    "workers": MEBIBYTE // 16,
    "table": 1024 * MEBIBYTE,
    "sealed": 16 * 1024 * MEBIBYTE,
    "packed": 16 * 1024 * MEBIBYTE,
}
"""Bytes of an object that is read whole, by its folder or, in none, its name."""


def object_limit(name: str) -> int:
    """Bytes that an object may have to be read whole.

    Args:
        name: Of the object, e.g. `records/ab/<key>.json`, `cls/zarr.json`, `cls/c.0.0.0`.
    """
    folder, slash, rest = name.partition("/")
    if folder in MAX_OBJECT_BYTES:
        return MAX_OBJECT_BYTES[folder]
    return MAX_OBJECT_BYTES["zarr.json"] if rest == "zarr.json" or not slash else MAX_STORED_CHUNK + 64


def unsafe_name(name: str) -> bool:
    """Whether an object's name might lead out of its store."""
    if name.startswith("/") or "\0" in name or "\\" in name:
        return True
    # Two dots are looked for first: it is asked before every single read.
    return ".." in name and ".." in name.split("/")
