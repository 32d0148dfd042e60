"""What a store made of others holds: each volume once, whoever was withdrawn anywhere left out.

Nothing here depends on the order in which the stores are given.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from cache_schema.common.errors import StoreError
from cache_schema.format.canonical import canonical_json
from cache_schema.format.identity import VolumeKey, twins
from cache_schema.format.record import Failure, TableRow
from cache_schema.format.tombstone import Tombstone
from cache_schema.store.reader import StoreReader, VolumeEntry
from cache_schema.store.withdrawn import Tombstones

Wanted = Callable[[VolumeKey], bool]


@dataclass(frozen=True, slots=True)
class Kept:
    """A committed volume and the store that it is taken from."""

    store: StoreReader
    entry: VolumeEntry

    def rank(self) -> tuple[bool, bool, bool, bytes, bytes]:
        """Of records of equal numbers, the first by this is kept: one that proves and tells more."""
        record, preview = self.store.record(self.entry.key), self.store.preview(self.entry.key)
        said = record.model_copy(
            update={"row": 0, "sha256": "", "numerics": record.numerics or self.store.header.numerics}
        )
        text = canonical_json(said.model_dump(mode="json"))
        return not record.arrays, record.inputs is None, preview is None, text, preview or b""


@dataclass(slots=True)
class Content:
    """What is to be written."""

    volumes: dict[VolumeKey, Kept] = field(default_factory=dict)
    rows: dict[VolumeKey, TableRow] = field(default_factory=dict)
    """Of everything that was planned, committed or not."""
    failures: dict[VolumeKey, Failure] = field(default_factory=dict)
    """Of what is committed nowhere."""
    tombstones: Tombstones = field(default_factory=Tombstones)
    twice: set[VolumeKey] = field(default_factory=set)
    """Committed in several stores, with equal digests."""
    left_out: set[VolumeKey] = field(default_factory=set)
    """Volumes of participants who were withdrawn from another of the stores."""

    @property
    def pending(self) -> list[VolumeKey]:
        """Planned, and neither committed nor failed."""
        return sorted(self.rows.keys() - self.volumes.keys() - self.failures.keys())


def gather(stores: Sequence[StoreReader], wanted: Wanted = lambda key: True) -> Content:
    """Put the contents of stores together.

    Args:
        stores: Of one fingerprint.
        wanted: Which volumes are taken; tombstones are all kept.

    Raises:
        StoreError: If two stores hold other numbers of one volume, or call one participant in two ways.
    """
    content = Content(tombstones=_all_tombstones(stores))

    def taken(key: VolumeKey) -> bool:
        if not wanted(key):
            return False
        if content.tombstones.hold(key.participant_id):
            content.left_out.add(key)
            return False
        return True

    conflicts: dict[VolumeKey, tuple[Kept, Kept]] = {}
    for store in stores:
        for entry in filter(lambda entry: taken(entry.key), store.entries):
            _take(content, Kept(store, entry), conflicts)
        for row in filter(lambda row: taken(row.key), store.table()):
            other = content.rows.setdefault(row.key, row)
            content.rows[row.key] = min(row, other, key=_text)
        for failure in filter(lambda failure: taken(failure.key), store.failures()):
            same = content.failures.setdefault(failure.key, failure)
            content.failures[failure.key] = min(failure, same, key=_text)
    _refuse_conflicts(conflicts)
    refuse_twins(stores, [*content.rows, *content.volumes, *content.failures])
    for key in content.failures.keys() & content.volumes.keys():
        del content.failures[key]
    if rowless := sorted(content.volumes.keys() - content.rows.keys()):
        where = content.volumes[rowless[0]].store.location
        raise StoreError(
            f"volume {rowless[0]} of {where!r} has no row in its table: `slicecache cache verify`"
        )
    if not content.volumes:
        told = " and ".join(repr(store.location) for store in stores)
        raise StoreError(f"there is no committed volume to take from {told}")
    return content


def _take(content: Content, kept: Kept, conflicts: dict[VolumeKey, tuple[Kept, Kept]]) -> None:
    """Take a volume, unless it is there; two of one key must have one digest."""
    key = kept.entry.key
    other = content.volumes.setdefault(key, kept)
    if other is kept:
        return
    content.twice.add(key)
    if other.entry.digest != kept.entry.digest:
        conflicts[key] = (other, kept)
    else:
        content.volumes[key] = min(other, kept, key=Kept.rank)


def _refuse_conflicts(conflicts: dict[VolumeKey, tuple[Kept, Kept]]) -> None:
    """Two numbers of one volume: nobody can say which are right.

    Raises:
        StoreError: Naming the first volume, both stores and both digests.
    """
    if not conflicts:
        return
    key, both = min(conflicts.items())
    sides = sorted((kept.store.location, kept.entry.digest[:12]) for kept in both)
    told = " and ".join(f"{digest} in {location!r}" for location, digest in sides)
    raise StoreError(
        f"{len(conflicts)} volumes are in several stores with other numbers, the first {key}: its digest is "
        f"{told}; are they two people of one id? Give each centre's ids a prefix of its own, or leave the "
        "volume out of one store with `slicecache cache subset`"
    )


def _all_tombstones(stores: Iterable[StoreReader]) -> Tombstones:
    """The tombstones of all stores.

    Raises:
        StoreError: If two say otherwise under one name: one of them hides a withdrawal.
    """
    found: dict[str, Tombstone] = {}
    for store in stores:
        for name, tombstone in store.tombstones().by_name.items():
            if found.setdefault(name, tombstone) != tombstone:
                raise StoreError(f"{name} of {store.location!r} is another tombstone than in another store")
    return Tombstones(dict(sorted(found.items())))


def refuse_twins(stores: Sequence[StoreReader], keys: Iterable[VolumeKey]) -> None:
    """Ids that only look like two would be two people in every fold.

    Raises:
        StoreError: Naming both spellings and the stores that have them.
    """
    levels: dict[tuple[str, ...], set[str]] = {}
    for key in keys:
        parts = key.as_list()
        for depth in range(3):
            levels.setdefault(tuple(parts[:depth]), set()).add(parts[depth])
    for above, ids in sorted(levels.items()):
        for group in twins(ids) if len(ids) > 1 else ():
            what = ("participants", "sessions", "volumes")[len(above)]
            of = f" of {'/'.join(filter(None, above))!a}" if above else ""
            told = " and ".join(f"{name!a} in {_holder(stores, (*above, name))!r}" for name in group[:2])
            raise StoreError(
                f"two {what}{of} differ only in case, width or invisible characters: {told}; write the id in "
                "one way at every centre and extract again, or leave one out with `slicecache cache subset`"
            )


def _holder(stores: Sequence[StoreReader], begins: tuple[str, ...]) -> str:
    """A store that has a volume whose key begins so."""
    for store in sorted(stores, key=lambda store: store.location):
        known = [row.key for row in store.table()] + [failure.key for failure in store.failures()]
        if any(tuple(key.as_list()[: len(begins)]) == begins for key in known):
            return store.location
    return stores[0].location


def _text(model: TableRow | Failure) -> bytes:
    """What one of several that say the same of a volume is chosen by."""
    return canonical_json(model.model_dump(mode="json"))
