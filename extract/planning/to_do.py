"""What a process does: the whole plan, made now, or one share of the plan that is kept for all."""

from collections.abc import Sequence
from dataclasses import dataclass

from cache_schema.common.errors import MachineError
from cache_schema.common.pipeline_file import Pipeline
from cache_schema.format.record import TableRow
from cache_schema.move.remove import readmit as readmit_to
from cache_schema.store.create import read_header
from cache_schema.store.withdrawn import tombstones_at
from extract.planning.config import AskedStore
from extract.planning.for_store import plan_for_stores, plan_of_each, refuse_twins_of_store
from extract.planning.kept import KeptPlan, keep_plan, kept_plan, plan_place
from extract.planning.plan import ExtractionPlan
from extract.planning.shard import Shard


@dataclass(frozen=True, slots=True)
class ToDo:
    """What this process does for one store."""

    mine: ExtractionPlan
    rows: Sequence[TableRow]
    """That the store must have for it."""
    longest: int
    """Most slices of any volume, in whosever share."""


def to_do(
    pipeline: Pipeline, asked: Sequence[AskedStore], readmit: Sequence[str], shard: Shard | None
) -> tuple[ToDo, ...]:
    """What this process does, for each store; as `planned` and `planned_once`."""
    if shard is None:
        plans = plan_of_each(planned(pipeline, asked, readmit), asked)
        return tuple(ToDo(plan, plan.rows(), plan.longest) for plan in plans)
    kept = planned_once(pipeline, asked)
    found = []
    for place, mine in enumerate(plan_of_each(kept.share(shard), asked)):
        # A store that is there has rows for all; whoever makes it gives rows to all.
        there = read_header(asked[place].location) is not None
        rows = (mine if there else kept.whole().of_store(place)).rows()
        found.append(ToDo(mine, rows, kept.longest[place]))
    return tuple(found)


def planned(pipeline: Pipeline, asked: Sequence[AskedStore], readmit: Sequence[str] = ()) -> ExtractionPlan:
    """One plan for all stores, made now.

    Raises:
        ConfigError: If the input cannot be understood, or has an id that a store has in another spelling.
    """
    plan = plan_for_stores(asked, pipeline.base, readmit)
    for each, own in zip(asked, plan_of_each(plan, asked, readmit), strict=True):
        refuse_twins_of_store(each.location, own)
    for location in (each.location for each in asked):
        # One who was withdrawn from one store alone comes back to that one.
        held = tombstones_at(location)
        if names := [name for name in readmit if len(asked) == 1 or held.hold(name)]:
            readmit_to(location, names)
    return plan


def planned_once(pipeline: Pipeline, asked: Sequence[AskedStore]) -> KeptPlan:
    """The plan that is kept in the run folder; whoever finds none makes it, and all take the first's.

    Raises:
        ConfigError: If the input cannot be understood, or the plan that is kept is one of something else.
    """
    place, sections = plan_place(pipeline.folder()), [each.section for each in asked]
    found = kept_plan(place, sections, pipeline.base)
    if found is None:
        keep_plan(place, planned(pipeline, asked), sections, pipeline.base, first=True)
        found = kept_plan(place, sections, pipeline.base)
    if found is None:
        raise MachineError(f"cannot read {str(place)!r}: it was deleted as soon as it was written")
    return found


def keep_anew(pipeline: Pipeline, asked: Sequence[AskedStore], plan: ExtractionPlan) -> None:
    """Keep the plan of all stores, in place of one that is kept."""
    sections = [each.section for each in asked]
    keep_plan(plan_place(pipeline.folder()), plan, sections, pipeline.base, first=False)
