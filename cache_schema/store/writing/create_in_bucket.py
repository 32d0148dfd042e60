"""Making a store in a bucket, where nothing can be renamed into place.

The header goes last: without it nothing is there for any reader. What it will say is decided first, by an
object under `tmp/` that is created once; whoever comes later finishes what it says, and so does whoever comes
after a creation that was killed. All of them write the same bytes.
"""

from collections.abc import Sequence

from cache_schema.common.errors import MachineError, StoreError, StoreMismatch
from cache_schema.files.objects import TEMPORARY
from cache_schema.files.remote.bucket import Bucket
from cache_schema.format.header import Header
from cache_schema.format.layout import HEADER
from cache_schema.format.metadata import metadata_objects, plain_layouts
from cache_schema.format.record import TableRow
from cache_schema.store.create import encode_header, parse_header, require_same
from cache_schema.store.table import encode_segment, segment_name

CLAIM = f"{TEMPORARY}/{HEADER}"
"""The header of a store that is being made."""


def create_in_bucket(url: str, header: Header, rows: Sequence[TableRow]) -> None:
    """Make a store behind a URL, or finish the one that somebody else has begun to make.

    Args:
        url: Of a place in a bucket without a store.
        header: Of the store.
        rows: The first of its table.

    Raises:
        StoreMismatch: If somebody has begun to make another store there.
        StoreError: If there is no such bucket.
        MachineError: If the bucket cannot be written to, or somebody was as fast.
    """
    objects = Bucket(url)
    objects.create(CLAIM, encode_header(header))
    claimed = objects.get(CLAIM)
    if claimed is not None and objects.get(HEADER) is None:
        _finish(objects, claimed, header, rows)
    objects.delete(CLAIM)


def _finish(objects: Bucket, claimed: bytes, asked: Header, rows: Sequence[TableRow]) -> None:
    """Write everything that a store without volumes has, the header last."""
    place = objects.place(CLAIM)
    header = _obeyed(claimed, asked, place)
    slices = max([row.max_slices for row in rows], default=0)
    with objects.together():
        for name, data in metadata_objects(plain_layouts(header, len(rows), slices)).items():
            objects.put(name, data)
    objects.create(segment_name(0), encode_segment(0, slices, rows))
    if objects.get(CLAIM) not in (claimed, None):
        raise MachineError(
            f"cannot create {objects.url!r}: another program began to at the same moment, as {place!r} says; "
            "run the same command again"
        )
    objects.create(HEADER, claimed)


def _obeyed(claimed: bytes, asked: Header, place: str) -> Header:
    """The header that was claimed, if it is the one that is asked for in all that must agree."""
    advice = f"if nothing is making a store there now, delete {place!r} with everything beside it"
    try:
        header = parse_header(claimed, place)
        require_same(place, asked, header)
    except StoreMismatch as error:
        raise StoreMismatch(f"{error}; that one was begun and not finished: {advice}") from error
    except StoreError as error:
        raise StoreError(f"{error}; {advice}") from error
    return header
