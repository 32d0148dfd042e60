"""Several stores of one fingerprint made into one: centres embed at home, and pool what came of it."""

from collections.abc import Sequence

from cache_schema.common.errors import ConfigError
from cache_schema.common.terminal.progress import Progress
from cache_schema.move.merging.agreement import (
    count_numerics,
    header_of,
    refuse_mixture,
    require_one_kind,
)
from cache_schema.move.merging.content import gather
from cache_schema.move.merging.made import Made, write_store
from cache_schema.move.merging.writing import require_place
from cache_schema.store.reader import open_store


def merge_stores(
    locations: Sequence[str], out: str, *, mixed_numerics: bool = False, progress: Progress | None = None
) -> Made:
    """Make one store of several; their order does not matter.

    Args:
        locations: Stores of one fingerprint and of equal arrays, of any kind that the reader opens.
        out: The folder to make.
        mixed_numerics: Whether volumes may have been computed with several arithmetics; each record then
            says which.
        progress: Called with the volumes written and their number.

    Raises:
        StoreMismatch: If fingerprints, arrays or (unless they may) numerics differ, naming the fields.
        StoreError: If two stores hold other numbers of one volume, ids are twins, a volume is damaged, or
            something is at `out` already.
    """
    if not locations:
        raise ConfigError("there is no store to merge: give at least one")
    require_place(locations, out)
    stores = [open_store(location) for location in locations]
    require_one_kind(stores)
    content = gather(stores)
    counts = count_numerics(content.volumes.values())
    if not mixed_numerics:
        refuse_mixture(stores, counts)
    return write_store(stores, content, counts, header_of(stores, counts), out, progress)
