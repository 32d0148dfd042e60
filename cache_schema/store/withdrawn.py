"""Who was withdrawn: tombstones, which say no name, and the table's rows that follow them.

A tombstone is put before anything is deleted, and asked for after anything is written. So whichever of a
removal and a commit comes later sees the other, and takes out what is not to be there.
"""

import os
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping

from pydantic import ValidationError

from cache_schema.common.errors import MachineError, StoreError
from cache_schema.files.locate import open_objects
from cache_schema.files.objects import LocalObjects, Objects
from cache_schema.format.canonical import canonical_json
from cache_schema.format.layout import WITHDRAWN, tombstone_name
from cache_schema.format.tombstone import Tombstone, salted_hash
from cache_schema.store.table import encode_segment, list_segments, parse_segment

ROUNDS = 100
LISTING_SECONDS = 60
DAMAGED = (
    "a withdrawal may be hidden in it: put it back from a copy, or run `slicecache cache remove` for whoever "
    "was withdrawn once more and delete it"
)


class Tombstones:
    """The tombstones of a store at one moment."""

    def __init__(self, by_name: Mapping[str, Tombstone] | None = None) -> None:
        """Hold them."""
        self.by_name = dict(by_name or {})
        self._hashes: dict[str, set[str]] = defaultdict(set)
        for tombstone in self.by_name.values():
            self._hashes[tombstone.salt].add(tombstone.participant_sha256)
        self._known: dict[str, bool] = {}

    def __len__(self) -> int:
        """Withdrawn participants."""
        return len(self.by_name)

    def hold(self, participant: str) -> bool:
        """Whether a participant was withdrawn."""
        if not self.by_name:
            return False
        if participant not in self._known:
            self._known[participant] = bool(self.names_of(participant))
        return self._known[participant]

    def names_of(self, participant: str) -> list[str]:
        """The objects that withdraw a participant; two where two removals of one moment had two salts."""
        return [
            tombstone_name(named)
            for salt, hashes in self._hashes.items()
            if (named := salted_hash(salt, participant)) in hashes
        ]

    @property
    def salt(self) -> str | None:
        """The salt for the next one: that of the first; None when there is none."""
        return min(self._hashes, default=None)


def read_tombstones(objects: Objects, known: Tombstones | None = None) -> Tombstones:
    """All tombstones; those that are `known` are not read again, since they never change.

    Raises:
        StoreError: If one is damaged, or there is anything else in their place.
    """
    _require_folder(objects)
    names = objects.list(WITHDRAWN)
    before = {} if known is None else known.by_name
    if known is not None and names == sorted(before):
        return known
    found = {}
    for name in names:
        data = None if name in before else objects.get(name)
        if name in before:
            found[name] = before[name]
        elif data is not None:
            found[name] = parse_tombstone(data, name)
    return Tombstones(found)


def tombstones_at(location: str) -> Tombstones:
    """Who was withdrawn from the store at a location, which need not be there yet.

    Raises:
        StoreError: As `read_tombstones`.
    """
    objects = open_objects(location)
    return Tombstones() if objects is None else read_tombstones(objects)


def encode_tombstone(tombstone: Tombstone) -> bytes:
    """A tombstone as it is stored."""
    return canonical_json(tombstone.model_dump(mode="json"))


def parse_tombstone(data: bytes, name: str) -> Tombstone:
    """A tombstone, held against its name.

    Raises:
        StoreError: If it is none.
    """
    try:
        tombstone = Tombstone.model_validate_json(data)
    except ValidationError as error:
        raise StoreError(f"{name} is no tombstone: it is damaged; {DAMAGED}") from error
    if tombstone_name(tombstone.participant_sha256) != name:
        raise StoreError(f"{name} is the tombstone of another name; {DAMAGED}")
    return tombstone


def bury(objects: Objects, participant: str) -> None:
    """Put a participant's tombstone, in one step, unless there is one."""
    before = read_tombstones(objects)
    if not before.hold(participant):
        tombstone = Tombstone.of(participant, before.salt)
        objects.create(tombstone_name(tombstone.participant_sha256), encode_tombstone(tombstone))


def await_listed(objects: Objects, participant: str) -> None:
    """Wait until a bucket lists a tombstone, by which extractions that begin later know of it.

    Raises:
        MachineError: If it does not for a minute.
    """
    for _ in range(LISTING_SECONDS):
        if read_tombstones(objects).hold(participant):
            return
        time.sleep(1)
    raise MachineError(
        f"the server does not list the tombstone of {participant!r} yet: everything is deleted, but wait "
        "until `slicecache cache inspect` counts it before anything is extracted"
    )


def withdraw_rows(objects: Objects) -> None:
    """Turn the table's rows of everybody who was withdrawn into null; their numbers are never given again.

    Two removals may go over each other's segments, so it is done until table and tombstones agree. A
    segment is read before the tombstones: a row that was given after a readmission is never taken for one
    from before it.

    Raises:
        StoreError: If a segment or a tombstone is damaged, or they will not settle.
    """
    tombstones = None
    for _ in range(ROUNDS):
        settled = True
        for name in list_segments(objects)[0]:
            segment = parse_segment(objects.get(name) or b"", name)
            tombstones = read_tombstones(objects, tombstones)
            gone = [row is not None and tombstones.hold(row.participant_id) for row in segment.rows]
            if any(gone):
                rows = [None if out else row for out, row in zip(gone, segment.rows, strict=True)]
                objects.put(name, encode_segment(segment.first_row, segment.slices, rows))
                settled = False
        if settled:
            return
    raise StoreError("the table does not settle: another program is editing this store")


def refuse_unfinished(tombstones: Tombstones, location: str, participants: Iterable[str]) -> None:
    """Refuse to call a store complete that still holds somebody who was withdrawn.

    Raises:
        StoreError: Naming them.
    """
    left = sorted({participant for participant in participants if tombstones.hold(participant)})
    if left:
        raise StoreError(
            f"{location!r} still holds {left[0]!r}, who was withdrawn: the removal was interrupted or "
            f"something was put back; run `slicecache cache remove {location} {left[0]}`, then try again"
        )


def _require_folder(objects: Objects) -> None:
    """Refuse a link in the tombstones' place, through which they would be read and written elsewhere."""
    if isinstance(objects, LocalObjects) and os.path.islink(objects.path(WITHDRAWN)):
        raise StoreError(f"{objects.path(WITHDRAWN)!r} is a symbolic link; a store has none: delete it")
