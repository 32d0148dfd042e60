"""The numerics that a header left open: fixed once, by whoever embeds first, and obeyed by all others."""

from cache_schema.common.errors import StoreError
from cache_schema.files.objects import Objects
from cache_schema.format.header import Header, Numerics
from cache_schema.format.layout import NUMERICS
from cache_schema.format.numerics import FixedNumerics, completed, parse_fixed
from cache_schema.format.record import VolumeRecord


def read_fixed(objects: Objects, header_sha256: str) -> FixedNumerics | None:
    """What was fixed, or None while nobody has embedded.

    Raises:
        StoreError: If it is damaged or completes another header.
    """
    data = objects.get(NUMERICS)
    return None if data is None else parse_fixed(data, header_sha256)


def resolved(objects: Objects, header: Header) -> Header:
    """A header as it was stored, with what it left open.

    Raises:
        StoreError: If what was fixed is damaged or contradicts the header.
    """
    return completed(header, read_fixed(objects, header.digest))


def require_fixed(header: Header, committed: int, location: str) -> None:
    """Refuse volumes of which nobody can say by which arithmetic they were made.

    Raises:
        StoreError: If the header leaves it open, and nothing beside it fixes it.
    """
    if committed and header.numerics.is_open:
        raise StoreError(
            f"{NUMERICS} of {location!r} is missing, and {committed} volumes are committed: restore it from "
            "a copy of the store, or extract to a new store"
        )


def fix(objects: Objects, fixed: FixedNumerics) -> FixedNumerics:
    """Fix the numerics of a store, or learn what somebody else has fixed.

    Raises:
        StoreError: If what is there is damaged.
    """
    objects.create(NUMERICS, fixed.encode())
    found = read_fixed(objects, fixed.header_sha256)
    if found is None:
        raise StoreError(f"{NUMERICS} was deleted while it was written")
    return found


def numerics_of(header: Header, record: VolumeRecord) -> Numerics:
    """With which arithmetic a volume was computed.

    Raises:
        StoreError: If the record says what its store's header does not know of.
    """
    if record.numerics is not None and record.numerics not in header.other_numerics:
        raise StoreError(
            f"the record of {record.key} says that it was computed with other numerics than the header "
            "allows; `slicecache cache verify` says more"
        )
    return record.numerics or header.numerics
