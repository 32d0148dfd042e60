"""A plan beside the store that it is for: who was withdrawn from it, and who is in it in another spelling."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from cache_schema.common.errors import ConfigError
from cache_schema.files.locate import open_objects
from cache_schema.format.identity import folded_id, twins
from cache_schema.store.table import read_volume_table
from cache_schema.store.withdrawn import Tombstones, tombstones_at
from extract.planning.config import ExtractSection
from extract.planning.plan import ExtractionPlan, plan_extraction


def plan_for_store(
    location: str | None, section: ExtractSection, base: Path, readmit: Sequence[str] = ()
) -> ExtractionPlan:
    """The plan of a section, without those who were withdrawn from the store, but for the readmitted.

    Raises:
        ConfigError: If the input has no volume of somebody who is to be readmitted.
        StoreError: If there is something else where the store is wanted, or a tombstone is damaged.
    """
    tombstones = tombstones_at(location) if location else Tombstones()
    back = {folded_id(participant) for participant in readmit}
    plan = plan_extraction(
        section.input,
        base,
        section.preprocessing,
        lambda participant: folded_id(participant) not in back and tombstones.hold(participant),
    )
    there = {folded_id(volume.candidate.key.participant_id) for volume in plan.volumes}
    absent = sorted(name for name in readmit if folded_id(name) not in there)
    if absent:
        raise ConfigError(f"--readmit {absent[0]}: the input has no volume of participant {absent[0]!r}")
    return plan


def without_withdrawn(plan: ExtractionPlan, tombstones: Tombstones) -> ExtractionPlan:
    """A plan that was kept, without those who were withdrawn since."""
    left, gone = [], []
    for volume in plan.volumes:
        key = volume.candidate.key
        if tombstones.hold(key.participant_id):
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
