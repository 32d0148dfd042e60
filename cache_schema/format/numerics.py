"""The arithmetic of a store whose header leaves it open, as the first process that embedded fixed it."""

from typing import Any

from pydantic import Field

from cache_schema.common.errors import StoreError
from cache_schema.common.stored_json import read_object
from cache_schema.common.strict import Strict
from cache_schema.format.canonical import canonical_json, sha256_json
from cache_schema.format.header import Header, Name, Numerics
from cache_schema.format.layout import NUMERICS
from cache_schema.format.limits import Digest, object_limit


class FixedNumerics(Strict):
    """What the first process that embeds settles for all; created once and never edited."""

    numerics: Numerics
    device: Name
    """Kind of device that it embeds on: `cpu`, `cuda`, `mps`."""
    header_sha256: Digest
    """Of the header that it completes."""
    made: dict[str, Any] = Field(default_factory=dict)
    """Provenance: libraries, host, device in words, time."""

    def encode(self) -> bytes:
        """As it is stored, with its hash beside it."""
        body = self.model_dump(mode="json")
        return canonical_json(body | {"sha256": sha256_json(body)})


def parse_fixed(data: bytes, header_sha256: str) -> FixedNumerics:
    """Read stored numerics and hold them against their hash and their header.

    Raises:
        StoreError: If they are damaged, leave something open, or complete another header.
    """
    try:
        raw = read_object(data, object_limit(NUMERICS))
        stored = raw.pop("sha256")
        right = stored == sha256_json(raw)
        fixed = FixedNumerics.model_validate(raw)
    except (ValueError, KeyError) as error:
        raise StoreError(f"{NUMERICS} cannot be read: it is damaged; restore it from a copy") from error
    if not right or fixed.numerics.is_open:
        raise StoreError(f"{NUMERICS} does not match its own hash: it was edited or damaged")
    if fixed.header_sha256 != header_sha256:
        raise StoreError(f"{NUMERICS} belongs to another header: it was copied here from another store")
    return fixed


def completed(header: Header, fixed: FixedNumerics | None) -> Header:
    """A header with what it left open.

    Raises:
        StoreError: If the two contradict each other.
    """
    if fixed is None or header.numerics == fixed.numerics:
        return header
    if header.numerics.closed_as(fixed.numerics) != fixed.numerics:
        raise StoreError(f"{NUMERICS} says {fixed.numerics!r}, and the header {header.numerics!r}")
    return header.model_copy(update={"numerics": fixed.numerics})
