"""What a store that is written anew says of how it was made: nothing that its original knew is lost."""

from collections.abc import Iterable
from typing import Any

from cache_schema.format.canonical import canonical_json
from cache_schema.format.header import MERGED
from cache_schema.store.reader import StoreReader

EMBEDDED = "embedded"
"""The member of `created` that says where numerics were fixed which the original's header had left open."""


def created_of(store: StoreReader) -> dict[str, Any]:
    """What a store says of how it was made, and where its numerics were fixed if they were left open."""
    fixed = store.fixed_numerics()
    if fixed is None:
        return store.header.created
    return {**store.header.created, EMBEDDED: {"device": fixed.device, **fixed.made}}


def provenance(created: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """What several stores say of how they were made, each thing once; of one store as it was."""
    parts = {canonical_json(part): part for one in created for part in provenance_parts(one)}
    ordered = [parts[text] for text in sorted(parts)]
    return ordered[0] if len(ordered) == 1 else {MERGED: ordered}


def provenance_parts(created: dict[str, Any]) -> list[dict[str, Any]]:
    """What a header says of how its store was made: of each store that was merged, or the one thing."""
    merged = created.get(MERGED)
    before = created.keys() == {MERGED} and isinstance(merged, list)
    return [part for part in merged if isinstance(part, dict)] if merged and before else [created]
