"""What stores must agree on to become one, and the header of what they become."""

from collections import Counter
from collections.abc import Iterable, Sequence

from cache_schema.common.errors import StoreError, StoreMismatch
from cache_schema.format.canonical import canonical_json
from cache_schema.format.header import Header, Numerics, differing_arrays, differing_fields
from cache_schema.format.layout import HEADER
from cache_schema.format.limits import object_limit
from cache_schema.move.merging.content import Kept
from cache_schema.move.provenance import created_of, provenance
from cache_schema.store.create import encode_header
from cache_schema.store.numerics import numerics_of
from cache_schema.store.reader import StoreReader


def require_one_kind(stores: Sequence[StoreReader]) -> None:
    """Refuse stores whose embeddings cannot be compared, or that hold other arrays.

    Raises:
        StoreMismatch: Naming each differing field with both values.
    """
    first, *others = stores
    for other in others:
        ours, theirs = first.header, other.header
        lines = differing_fields(
            ours.fingerprint.model_dump(mode="json"), theirs.fingerprint.model_dump(mode="json")
        )
        if lines:
            raise StoreMismatch(
                f"{first.location!r} (here) and {other.location!r} (there) are of other fingerprints, so "
                f"their embeddings cannot be compared: {'; '.join(lines)}. Extract one of them as the other "
                "was made"
            )
        if lines := differing_arrays(ours, theirs):
            raise StoreMismatch(
                f"{first.location!r} (here) and {other.location!r} (there) hold other arrays: "
                f"{'; '.join(lines)}. `slicecache cache subset --arrays` leaves arrays out; dtypes cannot "
                "be mixed"
            )


def count_numerics(volumes: Iterable[Kept]) -> Counter[Numerics]:
    """Volumes by the arithmetic that they were computed with; records are read of mixed stores only."""
    counts: Counter[Numerics] = Counter()
    for kept in volumes:
        header = kept.store.header
        mixed = header.other_numerics
        counts[numerics_of(header, kept.store.record(kept.entry.key)) if mixed else header.numerics] += 1
    return counts


def refuse_mixture(stores: Sequence[StoreReader], counts: Counter[Numerics]) -> None:
    """Refuse volumes that were computed with several arithmetics.

    Raises:
        StoreMismatch: Naming the fields with both values.
    """
    if len(counts) < 2:
        return
    ours, theirs = by_weight(counts)[:2]
    lines = differing_fields(ours.said(), theirs.said())
    here, there = (_of_numerics(stores, numerics) for numerics in (ours, theirs))
    raise StoreMismatch(
        f"{here!r} (here) and {there!r} (there) were computed with other arithmetic: {'; '.join(lines)}. "
        "--mixed-numerics keeps both, each volume with its own, and whoever trains on it is warned"
    )


def _of_numerics(stores: Sequence[StoreReader], numerics: Numerics) -> str:
    """A store that was computed with this arithmetic, or holds some that was."""
    own = sorted(store.location for store in stores if store.header.numerics == numerics and store.entries)
    return own[0] if own else next(s.location for s in stores if numerics in s.header.other_numerics)


def by_weight(counts: Counter[Numerics]) -> list[Numerics]:
    """That of most volumes first; of equal counts the first as text."""
    return sorted(counts, key=lambda numerics: (-counts[numerics], _text(numerics)))


def header_of(stores: Sequence[StoreReader], counts: Counter[Numerics]) -> Header:
    """The header of what stores of one kind become; that of one store is its own.

    Raises:
        StoreError: If the provenance of all of them is too much for one header.
    """
    first = min((store.header for store in stores), key=lambda header: _text(header))
    most, *others = by_weight(counts)
    header = first.model_copy(
        update={
            "numerics": most,
            "other_numerics": tuple(sorted(others, key=_text)),
            "slice_chunk": max(store.header.slice_chunk for store in stores),
            "created": provenance([created_of(store) for store in stores]),
        }
    )
    if len(encode_header(header)) > object_limit(HEADER):
        raise StoreError(
            f"the headers of {len(stores)} stores tell more of how they were made than one header may hold: "
            "`slicecache cache export` leaves most of it out, and exports can be merged"
        )
    return header


def _text(model: Header | Numerics) -> bytes:
    return canonical_json(model.model_dump(mode="json"))
