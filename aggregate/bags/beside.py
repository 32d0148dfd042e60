"""Other stores of the same volumes, whose numbers stand beside the main one's: `tokens: [cls, large:cls]`.

Another backbone of the same images, say. A slice must be the same slice in all of them, so volumes, kept
slices and geometry are compared before anything is read.
"""

from collections.abc import Iterable, Mapping, Sequence

from aggregate.bags.token_names import OF
from aggregate.common.table_values import listed
from cache_schema.common.errors import SlicecacheError
from cache_schema.common.prove import Prove
from cache_schema.common.text.counts import counted
from cache_schema.format.header import ArraySpec, Header
from cache_schema.format.identity import VolumeKey
from cache_schema.format.record import VolumeRecord
from cache_schema.store.reader import StoreReader, VolumeEntry, open_store

Beside = Mapping[str, StoreReader]
"""Name -> open store."""
NOTHING: Beside = {}


def open_beside(locations: Mapping[str, str], prove: Prove) -> Beside:
    """Open them.

    Raises:
        StoreError: If one cannot be read.
    """
    return {name: open_store(location, prove) for name, location in locations.items()}


def stores_used(names: Iterable[str]) -> tuple[str, ...]:
    """Names of the other stores that token arrays are of, in order."""
    return tuple(dict.fromkeys(name.partition(OF)[0] for name in names if OF in name))


def arrays_by_name(header: Header, beside: Beside) -> dict[str, ArraySpec]:
    """Every array of the main store by its name, and of the others by `STORE:NAME`."""
    others = {
        f"{name}{OF}{spec.name}": spec for name, store in beside.items() for spec in store.header.arrays
    }
    return {spec.name: spec for spec in header.arrays} | others


def store_of(name: str, store: StoreReader, beside: Beside) -> tuple[StoreReader, str]:
    """The store that an array is in, and what it is called there."""
    other, of, array = name.partition(OF)
    return (beside[other], array) if of else (store, name)


def require_alike(store: StoreReader, other: StoreReader, name: str, entries: Sequence[VolumeEntry]) -> None:
    """Refuse another store in which a slice would not be the same slice.

    Args:
        store: The main one.
        other: To stand beside it.
        name: What the other is called.
        entries: Of the main store: what is read.

    Raises:
        SlicecacheError: Naming volumes that are not there, or whose slices are not the same.
    """
    absent = [str(entry.key) for entry in entries if other.entries.find(entry.key) is None]
    if absent:
        raise SlicecacheError(
            f"the store {name!r} ({other.location}) lacks {len(absent)} of the {len(entries)} volumes that "
            f"are read from {store.location}: {listed(absent, 3)}; extract them there, or leave them out by "
            "where"
        )
    odd = [
        entry.key for entry in entries if _place(store.record(entry.key)) != _place(other.record(entry.key))
    ]
    if odd:
        raise SlicecacheError(
            f"slices of {counted(len(odd), 'volume')} are not the same in {store.location} and in the store "
            f"{name!r} ({other.location}): {listed([_told(key, store, other) for key in odd], 2)}; "
            "numbers of a slice stand side by side only where both were extracted from one "
            "image with one slice rule"
        )


def _place(record: VolumeRecord) -> tuple[object, ...]:
    """Where the kept slices lie."""
    slices, geometry = record.slices, record.geometry
    return slices.index, slices.height_mm, slices.n_volume, geometry.native_shape, geometry.affine


def _told(key: VolumeKey, *stores: StoreReader) -> str:
    def span(record: VolumeRecord) -> str:
        heights = record.slices.height_mm
        ends = f" from {min(heights):g} to {max(heights):g} mm" if heights else ""
        return f"{counted(len(heights), 'slice')}{ends}"

    return f"{key} ({' and '.join(span(store.record(key)) for store in stores)})"
