"""What `detect --plan` says before anything is fitted: one function for each thing, all in `PARTS`."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from aggregate.anomaly.effort.probe import needs_of_study
from aggregate.anomaly.fitting.stream import open_stream
from aggregate.anomaly.reference.prepare import DetectionPlan
from aggregate.anomaly.reference.visible import lesions_seen
from cache_schema.common.errors import MachineError, SlicecacheError, StoreError
from cache_schema.common.terminal.progress import counting


@dataclass(frozen=True, slots=True)
class Told:
    """One thing that is said."""

    lines: tuple[str, ...]
    """For a person."""
    data: Mapping[str, Any] = field(default_factory=dict)
    """The same for `--json`, by names of its own."""


def who_takes_part(plan: DetectionPlan) -> Told:
    """Volumes by part, detectors, whoever is left out, the reference group."""
    return Told((*plan.sentences(), *filter(None, [plan.turnout.line()]), *plan.notes))


def what_slices_see(plan: DetectionPlan) -> Told:
    """The share of lesion voxels on each store's kept slices, of the volumes that will be measured."""
    lines: list[str] = []
    data: dict[str, Any] = {}
    for work in plan.works:
        if work.truth is None:
            continue
        measured = work.part("test", "other")
        grid = open_stream(work.store, [measured[0].entry]).reference.grid if measured else (1, 1)
        with counting("masks", sum(member.key in work.truth.masks for member in measured)) as count:
            seen = lesions_seen(measured, work.truth, grid, count)
        lines.append(f"{work.store.location}: {seen.sentence()}")
        data[work.name] = {**asdict(seen), "share": seen.share}
    return Told(tuple(lines), {"lesions_seen": data} if data else {})


def what_it_takes(plan: DetectionPlan) -> Told:
    """Time, bytes and memory by a short probe; without one where a few slices are too few for a detector."""
    try:
        needs = needs_of_study(plan)
    except (StoreError, MachineError):
        raise
    except SlicecacheError as error:
        return Told((f"no time was measured: {error}",), {"needs": None})
    return Told((needs.sentence(),), {"needs": needs.as_json()})


PARTS: tuple[Callable[[DetectionPlan], Told], ...] = (who_takes_part, what_slices_see, what_it_takes)
"""In the order in which they are said."""


def told_of_plan(plan: DetectionPlan) -> tuple[list[str], dict[str, Any]]:
    """Everything, as lines and as one JSON object; nothing is written.

    Raises:
        SlicecacheError: As the parts.
    """
    told = [part(plan) for part in PARTS]
    lines = [line for one in told for line in one.lines]
    data = {name: value for one in told for name, value in one.data.items()}
    return lines, {"plan": lines, "warnings": list(plan.warnings), **data}
