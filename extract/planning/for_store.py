"""A plan beside the store that it is for: who was withdrawn from it, and who is in it in another spelling."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from cache_schema.common.errors import ConfigError
from cache_schema.files.locate import open_objects
from cache_schema.format.identity import folded_id, twins
from cache_schema.store.table import read_volume_table
from cache_schema.store.withdrawn import Tombstones, tombstones_at
from extract.planning.config import AskedStore
from extract.planning.plan import ExtractionPlan, plan_extraction


def plan_for_stores(asked: Sequence[AskedStore], base: Path, readmit: Sequence[str] = ()) -> ExtractionPlan:
    """One plan for all stores of a run, without those who were withdrawn from all of them.

    Args:
        asked: The stores of a run.
        base: Folder that relative paths start from.
        readmit: Participants who are in the plan although they were withdrawn.

    Raises:
        ConfigError: If the input has no volume of somebody who is to be readmitted.
        StoreError: If there is something else where a store is wanted, or a tombstone is damaged.
    """
    back = {folded_id(participant) for participant in readmit}
    gone = [_tombstones(each) for each in asked]
    first, *others = (each.section.preprocessing for each in asked)
    plan = plan_extraction(
        asked[0].section.input,
        base,
        first,
        lambda person: folded_id(person) not in back and all(each.hold(person) for each in gone),
        others,
    )
    there = {folded_id(volume.candidate.key.participant_id) for volume in plan.volumes}
    absent = sorted(name for name in readmit if folded_id(name) not in there)
    if absent:
        raise ConfigError(f"--readmit {absent[0]}: the input has no volume of participant {absent[0]!r}")
    return plan


def plan_of_each(
    plan: ExtractionPlan, asked: Sequence[AskedStore], readmit: Sequence[str] = ()
) -> tuple[ExtractionPlan, ...]:
    """The plan of each store: its own bounds, without those who were withdrawn from it alone."""
    back = {folded_id(participant) for participant in readmit}
    return tuple(
        without_withdrawn(plan.of_store(place), _tombstones(each), back) for place, each in enumerate(asked)
    )


def _tombstones(asked: AskedStore) -> Tombstones:
    return tombstones_at(asked.location) if asked.location else Tombstones()


def without_withdrawn(
    plan: ExtractionPlan, tombstones: Tombstones, back: Collection[str] = ()
) -> ExtractionPlan:
    """A plan without those who were withdrawn from its store, but for who comes `back` (folded ids)."""
    left, gone = [], []
    for volume in plan.volumes:
        key = volume.candidate.key
        if tombstones.hold(key.participant_id) and folded_id(key.participant_id) not in back:
            gone.append(key)
        else:
            left.append(volume)
    return replace(plan, volumes=tuple(left), withdrawn=tuple(sorted((*plan.withdrawn, *gone))))


def refuse_twins_of_store(location: str, plan: ExtractionPlan) -> None:
    """An id that the store has in another spelling would be embedded as somebody else, with a row for life.

    Raises:
        ConfigError: Naming both spellings.
    """
    objects = open_objects(location)
    known = set() if objects is None else {key.participant_id for key in read_volume_table(objects).index}
    new = {volume.candidate.key.participant_id for volume in plan.embeddable} - known
    for group in twins(known | new):
        if fresh := sorted(new & set(group)):
            there = next(name for name in group if name in known)
            raise ConfigError(
                f"the store {location!r} has the participant {there!a}, and the input {fresh[0]!a}, which "
                "differs only in case, width or invisible characters: write the id as the store has it"
            )
