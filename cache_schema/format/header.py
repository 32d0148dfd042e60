"""The header: what makes every embedding of a store comparable, under two hashes.

`fingerprint` says which numbers were meant (backbone, plane, preprocessing); `numerics` says with
which arithmetic they were computed. Everything else (library versions, host, time) is provenance
and stands in neither. A field that is added to a model here is declared with `models.later`.
"""

from typing import Any, Literal

from pydantic import Field

from cache_schema.common.errors import StoreMismatch
from cache_schema.common.strict import Strict
from cache_schema.format.canonical import sha256_json

FORMAT = "slicecache"
VERSION = 1

ABSENT = type("Absent", (), {"__repr__": lambda self: "None"})()
"""In a comparison, what one side does not say: a null that the other side does say is no match for it."""

FloatName = Literal["float16", "float32"]


class BackboneIdentity(Strict):
    """Which network, by its architecture and its weights, never by its name alone."""

    architecture: dict[str, Any]
    """Family and shape: kind, layers, dim, heads, patch_size, registers, canvas pixels and the like."""
    weights_sha256: str = Field(pattern="^[0-9a-f]{64}$")
    """Over the sorted parameters: name, dtype, shape, little-endian bytes."""
    position_table: str
    """How the position table was resampled to the patch grid, e.g. `dinov2-scale-offset-0.1-bicubic`."""
    layers: tuple[int, ...] = ()
    """Blocks whose CLS token is kept beside the last one (counted from 1); empty for the last only."""


class Fingerprint(Strict):
    """One store has one: the backbone, the plane and the ordered preprocessing."""

    schema_version: Literal[1] = 1
    backbone: BackboneIdentity
    plane: Literal["axial"] = "axial"
    preprocessing: tuple[dict[str, Any], ...]
    """Ordered steps, each `{"step": name, parameter: value, ...}`."""
    slices: dict[str, Any]
    """The slice rule, e.g. `{"kind": "foreground"}`."""

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON, in which no later field has its implicit value."""
        return sha256_json(self.model_dump(mode="json"))


class Numerics(Strict):
    """The arithmetic: equality of embeddings is promised for equal numerics on one kind of device."""

    compute_dtype: Literal["float32", "bfloat16", "float16"]
    storage_dtype: FloatName
    resize_backend: str

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON, in which no later field has its implicit value."""
        return sha256_json(self.model_dump(mode="json"))


class ArraySpec(Strict):
    """One array of the store: dims `(volume, slice, *rest)`, with the shape of the rest fixed for life."""

    name: str
    dims: tuple[str, ...]
    """Names of all axes, `volume` and `slice` first."""
    item_shape: tuple[int, ...]
    """Lengths of the axes behind `slice`."""
    dtype: FloatName


class Header(Strict):
    """What a store says of itself; written once at creation and never edited."""

    format: Literal["slicecache"] = "slicecache"
    version: Literal[1] = 1
    fingerprint: Fingerprint
    numerics: Numerics
    arrays: tuple[ArraySpec, ...]
    slice_chunk: int = Field(ge=1)
    """Extent of one chunk of the slice axis for arrays whose whole volume fits one chunk."""
    created: dict[str, Any] = Field(default_factory=dict)
    """Provenance outside both hashes: library versions, device, host, time, command, configuration."""

    @property
    def digest(self) -> str:
        """SHA-256 of everything in the header, as it is written beside it so that an edit shows."""
        return sha256_json(self.model_dump(mode="json"))


def differing_fields(ours: Any, theirs: Any, where: str = "") -> list[str]:
    """Name every leaf in which two JSON values differ, as `path: ours here, theirs there`."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        keys = sorted(ours.keys() | theirs.keys())
        return [
            line
            for key in keys
            for line in differing_fields(
                ours.get(key, ABSENT), theirs.get(key, ABSENT), f"{where}.{key}" if where else key
            )
        ]
    if isinstance(ours, list | tuple) and isinstance(theirs, list | tuple) and len(ours) == len(theirs):
        return [
            line
            for index, (a, b) in enumerate(zip(ours, theirs, strict=True))
            for line in differing_fields(a, b, f"{where}[{_step_name(a, b, index)}]")
        ]
    return [] if ours == theirs else [f"{where} is {ours!r} here and {theirs!r} there"]


def _step_name(a: Any, b: Any, index: int) -> str:
    """Call a preprocessing step by its name when both sides agree on it, else by its position."""
    if isinstance(a, dict) and isinstance(b, dict) and a.get("step") == b.get("step") and "step" in a:
        return str(a["step"])
    return str(index)


def require_equal(asked: Strict, found: Strict, what: str, advice: str) -> None:
    """Refuse when two specs of one type differ, naming the fields with both values.

    Args:
        asked: What is wanted now ("here" in the message).
        found: What the store or bundle was made with ("there").
        what: Begins the sentence, e.g. `the store runs/demo/cache.zarr was made otherwise`.
        advice: Ends it: what to do.

    Raises:
        StoreMismatch: If they differ.
    """
    lines = differing_fields(asked.model_dump(mode="json"), found.model_dump(mode="json"))
    if lines:
        raise StoreMismatch(f"{what}: {'; '.join(lines)}. {advice}")
