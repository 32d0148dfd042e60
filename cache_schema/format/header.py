"""The header: what makes every embedding of a store comparable, under two hashes.

`fingerprint` says which numbers were meant (backbone, plane, preprocessing); `numerics` says with
which arithmetic they were computed. Everything else (library versions, host, time) is provenance
and stands in neither. A field that is added to a model here is declared with `models.later`.
"""

import math
from collections.abc import Collection
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from cache_schema.common.errors import StoreMismatch
from cache_schema.common.strict import Strict, later
from cache_schema.format.canonical import sha256_json
from cache_schema.format.limits import (
    DIGEST,
    MAX_ARRAYS,
    MAX_AXES,
    MAX_EXTENT,
    MAX_SLICE_BYTES,
    NAME,
    RESERVED,
    Extent,
)
from cache_schema.format.plane import Plane

FORMAT = "slicecache"
VERSION = 1

MERGED = "merged"
"""The one member of `created` in the header of a store that was made of several: what each of them said."""

ABSENT = type("Absent", (), {"__repr__": lambda self: "None"})()
"""In a comparison, what one side does not say: a null that the other side does say is no match for it."""

OPEN = "auto"
"""A compute dtype or an engine that the first process that embeds will fix; see `format.numerics`."""

FloatName = Literal["float16", "float32"]
Name = Annotated[str, Field(pattern=NAME)]


class BackboneIdentity(Strict):
    """Which network, by its architecture and its weights, never by its name alone."""

    architecture: dict[str, Any]
    """Family and shape: kind, layers, dim, heads, patch_size, registers, canvas pixels and the like."""
    weights_sha256: str = Field(pattern=DIGEST)
    """Over the sorted parameters: name, dtype, shape, little-endian bytes."""
    position_table: str
    """How the position table was resampled to the patch grid, e.g. `dinov2-scale-offset-0.1-bicubic`."""
    layers: tuple[int, ...] = ()
    """Blocks whose CLS token is kept beside the last one (counted from 1); empty for the last only."""


class Fingerprint(Strict):
    """One store has one: the backbone, the plane and the ordered preprocessing."""

    schema_version: Literal[1] = 1
    backbone: BackboneIdentity
    plane: Plane = "axial"
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

    compute_dtype: Literal["float32", "bfloat16", "float16", "auto"]
    """`auto`: left open at creation."""
    storage_dtype: FloatName
    resize_backend: str
    engine: Literal["torch", "openvino", "auto"] = later("torch")
    """What multiplies in the backbone; `auto`: left open at creation."""

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON, in which no later field has its implicit value."""
        return sha256_json(self.model_dump(mode="json"))

    @property
    def is_open(self) -> bool:
        """Whether something is left to whoever embeds first."""
        return OPEN in (self.compute_dtype, self.engine)

    def closed_as(self, other: "Numerics") -> "Numerics":
        """The same with what is left open as another says it."""
        said = {name: getattr(other, name) for name in FIXED if getattr(self, name) == OPEN}
        return self.model_copy(update=said)

    def said(self) -> dict[str, Any]:
        """Every field, those too that stored JSON leaves out."""
        return {name: getattr(self, name) for name in type(self).model_fields}


FIXED = ("compute_dtype", "engine")
"""Fields of `Numerics` that may be left open."""


def told_apart(several: Collection[Numerics]) -> dict[Numerics, str]:
    """Numerics in words: the fields in which they differ, or all of them where none does.

    Example:
        >>> one = Numerics(compute_dtype="float32", storage_dtype="float16", resize_backend="pillow")
        >>> list(told_apart([one, one.model_copy(update={"compute_dtype": "bfloat16"})]).values())
        ['compute_dtype float32', 'compute_dtype bfloat16']
    """
    data = {one: one.said() for one in several}
    fields = dict.fromkeys(name for one in data.values() for name in one)
    differing = [name for name in fields if len({str(one.get(name)) for one in data.values()}) > 1]
    return {
        numerics: ", ".join(f"{name} {one.get(name)}" for name in differing or fields)
        for numerics, one in data.items()
    }


class ArraySpec(Strict):
    """One array of the store: dims `(volume, slice, *rest)`, with the shape of the rest fixed for life."""

    name: Name
    dims: tuple[Name, ...] = Field(max_length=MAX_AXES)
    """Names of all axes, `volume` and `slice` first."""
    item_shape: tuple[Extent, ...]
    """Lengths of the axes behind `slice`."""
    dtype: FloatName

    @model_validator(mode="after")
    def _plausible(self) -> Self:
        if self.name in RESERVED:
            raise ValueError(
                f"no array can be called {self.name!r}: a folder of that name holds something else"
            )
        if self.dims[:2] != ("volume", "slice") or len(self.dims) != 2 + len(self.item_shape):
            raise ValueError(f"dims {self.dims} are not volume, slice and one for each of {self.item_shape}")
        if math.prod(self.item_shape) * int(self.dtype[-2:]) // 8 > MAX_SLICE_BYTES:
            raise ValueError(f"a slice of {self.item_shape} is beyond {MAX_SLICE_BYTES} bytes")
        return self


class Header(Strict):
    """What a store says of itself; written once at creation and never edited."""

    format: Literal["slicecache"] = "slicecache"
    version: Literal[1] = 1
    fingerprint: Fingerprint
    numerics: Numerics
    arrays: tuple[ArraySpec, ...] = Field(min_length=1, max_length=MAX_ARRAYS)
    slice_chunk: int = Field(ge=1, le=MAX_EXTENT)
    """Extent of one chunk of the slice axis for arrays whose whole volume fits one chunk."""
    created: dict[str, Any] = Field(default_factory=dict)
    """Provenance outside both hashes: library versions, device, host, time, command, configuration."""
    other_numerics: tuple[Numerics, ...] = later(())
    """What records may say in place of `numerics`: a merge of stores that were computed otherwise."""

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        names = [spec.name for spec in self.arrays]
        if len(set(names)) < len(names):
            raise ValueError(f"an array stands twice in {names}")
        return self

    @model_validator(mode="after")
    def _closed(self) -> Self:
        if self.other_numerics and any(one.is_open for one in (self.numerics, *self.other_numerics)):
            raise ValueError("where records have numerics of their own, nothing is left open")
        return self

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


def differing_arrays(ours: Header, theirs: Header) -> list[str]:
    """Name the arrays that only one of two headers has, and every leaf in which those of both differ."""
    mine, others = (
        {spec.name: spec.model_dump(mode="json") for spec in one.arrays} for one in (ours, theirs)
    )
    lines = []
    for where, names in (("here", mine.keys() - others.keys()), ("there", others.keys() - mine.keys())):
        if names:
            many = len(names) > 1
            arrays = f"the array{'s' * many} {', '.join(sorted(names))}"
            lines.append(f"{arrays} {'are' if many else 'is'} {where} only")
    both = mine.keys() & others.keys()
    return lines + differing_fields({n: mine[n] for n in both}, {n: others[n] for n in both}, "arrays")


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
