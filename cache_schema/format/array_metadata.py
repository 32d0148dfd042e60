"""An array's Zarr metadata, held against the header: what is not as this format writes it is refused."""

from collections.abc import Mapping
from typing import Any

from cache_schema.common.errors import StoreError
from cache_schema.common.stored_json import read_object
from cache_schema.format.header import ArraySpec
from cache_schema.format.limits import MAX_AXES, MAX_EXTENT, MAX_ROWS, object_limit

USUAL = {
    "zarr_format": 3,
    "node_type": "array",
    "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
}
"""Said alike of every array."""


def read_metadata(
    spec: ArraySpec, metadata: bytes
) -> tuple[tuple[int, ...], tuple[int, ...], list[dict[str, Any]]]:
    """Extents, chunk shape and codecs of an array.

    Raises:
        StoreError: If it is unreadable, says another dtype or shape than the header, or something that this
            program does not write.
    """
    try:
        meta = read_object(metadata, object_limit(f"{spec.name}/zarr.json"))
        shape = _extents(meta["shape"])
        chunk = _extents(meta["chunk_grid"]["configuration"]["chunk_shape"])
        codecs = [{k: v for k, v in codec.items() if v != {}} for codec in meta["codecs"]]
        names = tuple(meta.get("dimension_names") or ())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"array {spec.name!r}: its metadata cannot be read ({error!r:.200})") from error
    wanted = {
        "dtype": (meta.get("data_type"), spec.dtype),
        "item_shape": (shape[2:], spec.item_shape),
        "dims": (names, spec.dims),
        "fill_value": (meta.get("fill_value"), "NaN"),
    }
    for name, (found, value) in wanted.items():
        if found != value:
            raise StoreError(
                f"array {spec.name!r}: {name} is {found!r:.200} in its metadata and {value!r} in the header"
            )
    _require_usual(spec, meta)
    if len(chunk) != len(shape) or chunk[2:] != spec.item_shape or 0 in chunk:
        raise StoreError(f"array {spec.name!r}: chunks of {chunk} do not hold whole slices")
    return shape, chunk, codecs


def _extents(stored: Any) -> tuple[int, ...]:
    """Extents as stored, none beyond what is read."""
    limits = (MAX_ROWS, *[MAX_EXTENT] * (MAX_AXES - 1))
    if type(stored) is not list or not 2 <= len(stored) <= MAX_AXES:
        raise ValueError(f"{stored!r:.80} are no extents")
    for n, limit in zip(stored, limits, strict=False):
        if type(n) is not int or not 0 <= n <= limit:
            raise ValueError(f"an extent of {n!r:.40}, {limit} at most are read")
    return tuple(stored)


def _require_usual(spec: ArraySpec, meta: Mapping[str, Any]) -> None:
    """Refuse what would change where bytes lie and how they become numbers.

    Raises:
        StoreError: Naming what is unusual.
    """
    unusual = [name for name, value in USUAL.items() if meta.get(name) != value]
    unusual += ["chunk_grid"] * (meta["chunk_grid"].get("name") != "regular")
    unusual += ["storage_transformers"] * (meta.get("storage_transformers", []) != [])
    if unusual:
        raise StoreError(
            f"array {spec.name!r}: {unusual[0]} is {meta.get(unusual[0])!r:.200} in its metadata, which this "
            "program does not write and so does not read"
        )
