"""Whether a store holds what a bundle reads: the same embeddings, under the same names."""

import logging

from aggregate.bags.beside import NOTHING, Beside, arrays_by_name
from aggregate.bags.token_names import token_names
from aggregate.predict.bundle import BundleCard
from cache_schema.common.errors import SlicecacheError
from cache_schema.format.header import Header, Numerics, differing_fields, require_equal

logger = logging.getLogger("slicecache.predict")


def check_store(card: BundleCard, header: Header, location: str, beside: Beside = NOTHING) -> None:
    """Refuse a store of other embeddings; warn of other arithmetic.

    Raises:
        StoreMismatch: If the fingerprints differ, naming the fields with both values.
        SlicecacheError: If the store has no such tokens.
    """
    require_equal(
        card.fingerprint,
        header.fingerprint,
        f"the bundle (here) was trained on other embeddings than the store {location} (there) holds",
        "Extract a store as the bundle's was made.",
    )
    warn_of_numerics(card.numerics, header, location)
    _check_beside(card, beside)
    shapes = {name: array.item_shape for name, array in arrays_by_name(header, beside).items()}
    if not shapes.keys() >= set(token_names(card.tokens)):
        raise SlicecacheError(
            f"the bundle reads the tokens {card.tokens!r}, but the store {location} has {', '.join(shapes)}"
        )
    found = [shapes[name] for name in token_names(card.tokens)]
    if any(len(shape) != 1 for shape in found) or sum(shape[0] for shape in found) != card.dim:
        told = " and ".join(" x ".join(map(str, shape)) for shape in found)
        raise SlicecacheError(
            f"the bundle reads tokens of {card.dim} numbers, one a slice; {card.tokens!r} of the store "
            f"{location} has {told}"
        )


def _check_beside(card: BundleCard, beside: Beside) -> None:
    """Refuse other stores than the bundle's, or none where it reads from some.

    Raises:
        StoreMismatch: If fingerprints differ, naming the fields with both values.
        SlicecacheError: If one is not given, or one is given that the bundle does not know.
    """
    if odd := sorted(card.beside.keys() ^ beside.keys()):
        known = ", ".join(sorted(card.beside)) or "no other store"
        told = ", ".join(sorted(beside)) or "none"
        raise SlicecacheError(
            f"the bundle reads from {known} beside its main store, and {told} was given: say --beside "
            f"{odd[0]}=LOCATION for each of the bundle's, and no others"
        )
    for name, kept in card.beside.items():
        there = beside[name]
        require_equal(
            kept.fingerprint,
            there.header.fingerprint,
            f"the bundle (here) was trained on other embeddings than the store {name!r} ({there.location}) "
            "(there) holds",
            "Extract a store as the bundle's was made.",
        )
        warn_of_numerics(kept.numerics, there.header, there.location)


def refuse_harmonised(card: BundleCard, what: str) -> None:
    """Refuse a bundle whose members read other tokens than the store's, where only those are at hand.

    Raises:
        SlicecacheError: If its training was harmonised.
    """
    if card.harmonised is not None:
        raise SlicecacheError(
            f"{what} reads a store's tokens as they are, and this bundle's members were trained on "
            "harmonised ones; train without harmonise for it"
        )


def warn_of_numerics(ours: Numerics, header: Header, location: str) -> None:
    """Say when a store, or a part of it, was computed with other arithmetic than a bundle's."""
    lines = [
        line
        for theirs in (header.numerics, *header.other_numerics)
        for line in differing_fields(ours.said(), theirs.said())
    ]
    if lines:
        logger.warning(
            "the store %s (there) was computed with other arithmetic than the bundle's (here): %s; "
            "predictions may differ slightly",
            location,
            "; ".join(lines),
        )
