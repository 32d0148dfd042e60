"""A part of a store made into a store: some participants, some arrays."""

from collections.abc import Sequence

from cache_schema.common.errors import ConfigError
from cache_schema.common.terminal.progress import Progress
from cache_schema.move.merging.agreement import count_numerics, header_of
from cache_schema.move.merging.content import gather
from cache_schema.move.merging.made import Made, write_store
from cache_schema.move.merging.people import read_selection
from cache_schema.move.merging.writing import require_place
from cache_schema.store.reader import open_store


def subset_store(
    location: str,
    out: str,
    *,
    participants: Sequence[str] = (),
    arrays: Sequence[str] = (),
    progress: Progress | None = None,
) -> tuple[Made, int]:
    """Make a store of some volumes of another, or of some of its arrays.

    Args:
        location: The store, of any kind that the reader opens.
        out: The folder to make.
        participants: Ids and tables of them; all when there are none.
        arrays: Names; all when there are none. With fewer arrays volumes have other digests, since those
            cover all arrays; the fingerprint is the same.
        progress: Called with the volumes written and their number.

    Returns:
        What was made, and how many rows of the tables no volume belongs to.

    Raises:
        ConfigError: If nothing is asked for, or an id or array is not there.
        StoreError: If a volume is damaged, or something is at `out` already.
    """
    if not participants and not arrays:
        raise ConfigError(
            "say what to keep, with --participants or --arrays; `cache import` copies a whole store"
        )
    require_place([location], out)
    selection = read_selection(participants)
    # Without the other arrays a volume's digest says nothing, so each array is held to its own SHA-256.
    store = open_store(location, "sha256" if arrays else "crc32c")
    for name in arrays:
        store.layout(name)
    known = [row.key for row in store.table()] + [failure.key for failure in store.failures()]
    unmatched = selection.require(known, location) if participants else 0
    content = gather([store], selection.holds) if participants else gather([store])
    counts = count_numerics(content.volumes.values())
    header = header_of([store], counts)
    specs = tuple(spec for spec in header.arrays if not arrays or spec.name in arrays)
    made = write_store([store], content, counts, header.model_copy(update={"arrays": specs}), out, progress)
    return made, unmatched
