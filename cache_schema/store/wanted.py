"""A store that is wanted and not there yet: what a bundle reads, told to whoever can make it from images.

Stage two says what it reads and stage one makes it; neither knows the other, and both know this.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from cache_schema.common.prove import Prove
from cache_schema.format.header import MERGED, Fingerprint, Header, Numerics
from cache_schema.store.reader import StoreReader

PLACES = ("path", "lock")
"""Of a backbone: what starts from the folder of its pipeline where it is relative."""
FILTERS = ("suffix", "acquisition", "desc", "space")
"""Of a BIDS input: which of a participant's volumes were meant; who and which session is another's affair."""


@dataclass(frozen=True, slots=True)
class WantedStore:
    """What must be in a store for somebody to read it."""

    fingerprint: Fingerprint
    numerics: Numerics
    arrays: tuple[str, ...]
    """Names of those that are read."""
    making: Mapping[str, Any] = field(default_factory=dict)
    """From `making_of` a store of such embeddings; empty where nobody wrote it down."""


@runtime_checkable
class StoreMaker(Protocol):
    """Makes a store of embeddings that are wanted, or goes on with one; what came of it is known then."""

    store: str
    """Where it lies."""

    @property
    def failed(self) -> int:
        """Volumes that are not in it."""
        ...

    def told(self) -> str:
        """What was done, in a few lines."""
        ...

    def as_json(self) -> dict[str, Any]:
        """What was done, as JSON data."""
        ...

    def store_for(self, wanted: WantedStore, prove: Prove = "crc32c") -> StoreReader:
        """The store of its images, and of no others, opened.

        Raises:
            StoreMismatch: If what is here cannot make what is wanted, before anything is embedded.
        """
        ...


def making_of(header: Header) -> dict[str, Any]:
    """How more embeddings like a store's are made, as far as its fingerprint does not say it.

    That is where the backbone comes from, which volumes were meant, and who was let in. A folder of the
    machine is in it only where the backbone was one.
    """
    created = header.created
    parts = created.get(MERGED) if isinstance(created.get(MERGED), list) else [created]
    told = next((part for part in parts or [] if isinstance(part, dict) and _configured(part)), None)
    if told is None:
        return {}
    configuration = told["configuration"]
    given = configuration.get("input")
    backbone = _said(configuration["backbone"])
    found = {
        "backbone": backbone,
        "input": _said({name: given.get(name) for name in FILTERS}) if isinstance(given, dict) else {},
        "allow_unknown_orientation": configuration.get("allow_unknown_orientation") is True,
        "folder": told.get("folder") if any(name in backbone for name in PLACES) else None,
    }
    return {name: value for name, value in found.items() if value}


def _configured(part: dict[str, Any]) -> bool:
    """Whether provenance holds the section that a store was made by."""
    configuration = part.get("configuration")
    return isinstance(configuration, dict) and isinstance(configuration.get("backbone"), dict)


def _said(values: Mapping[str, Any]) -> dict[str, Any]:
    """What is said of something, without what is not."""
    return {name: value for name, value in values.items() if value is not None}
