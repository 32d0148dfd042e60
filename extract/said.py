"""What `plan` and `extract` say: in a few lines for a person, and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cache_schema.common.text.counts import counted
from cache_schema.files.disk.room import in_units

if TYPE_CHECKING:
    from pathlib import Path

    from extract.outcome import Outcome
    from extract.planning.config import AskedStore, ExtractSection
    from extract.planning.plan import ExtractionPlan

SHOWN_FAILURES = 20
SHOWN_VOLUMES = 20
SHOWN_REFUSED = 100
SHOWN_NOTES = 20


def describe_extraction(outcome: Outcome) -> str:
    """What was done, in a few lines for each store."""
    return "\n".join(map(_describe_store, outcome.every))


def _describe_store(outcome: Outcome) -> str:
    from cache_schema.common.pipeline_file import MAIN
    from extract.engines.waiting import said_of_waiting
    from extract.planning.plan import said_of_withdrawn

    speed = outcome.slices / max(outcome.seconds, 1e-9)
    lines = [
        f"store {outcome.store}",
        f"  {counted(outcome.embedded, 'volume')} embedded, {outcome.skipped} already there, "
        f"{outcome.failed} failed",
    ]
    if outcome.name != MAIN:
        lines[0] = f"store {outcome.name}: {outcome.store}"
    if outcome.shard is not None:
        lines[0] += f", share {outcome.shard}"
    if outcome.slices:
        again = f"; {outcome.repeated} equal to others and embedded once" if outcome.repeated else ""
        lines.append(
            f"  {counted(outcome.slices, 'slice')} in {outcome.seconds:.1f} s ({speed:.1f} slices/s){again}"
        )
    waited = said_of_waiting(outcome.waiting_seconds, outcome.busy_seconds, outcome.workers, outcome.stages)
    lines += [f"  {line}" for line in waited]
    if outcome.content_digest:
        lines.append(f"  content digest {outcome.content_digest}")
    lines += [f"  note: {note}" for note in outcome.notes[:SHOWN_NOTES]]
    if len(outcome.notes) > SHOWN_NOTES:
        lines.append(f"  and {len(outcome.notes) - SHOWN_NOTES} more notes, which --json lists")
    if outcome.withdrawn:
        lines.append(f"  {said_of_withdrawn(outcome.withdrawn)}")
    if outcome.failures:
        lines.append(f"failed, as listed in {outcome.failures_table}")
        shown = outcome.failures[:SHOWN_FAILURES]
        lines += [f"  {failure.key}: {failure.reason}" for failure in shown]
    if len(outcome.failures) > SHOWN_FAILURES:
        lines.append(f"  and {len(outcome.failures) - SHOWN_FAILURES} more")
    return "\n".join(lines)


def store_bytes(section: ExtractSection, base: Path, made: ExtractionPlan) -> int | None:
    """Upper bound of the store's size; None for a backbone whose sizes only a download would tell."""
    from extract.planning.arrays import arrays_of

    arrays, _ = arrays_of(section, base)
    return None if arrays is None else made.bytes(arrays)


def describe_plan(made: ExtractionPlan, size: int | None) -> str:
    """A table of the first volumes, everything that cannot be embedded, and the sums."""
    from extract.planning.plan import said_of_withdrawn

    shown = made.embeddable[:SHOWN_VOLUMES]
    lines = columns(
        [("volume", "shape", "spacing mm", "slices")]
        + [
            (
                str(volume.candidate.key),
                "x".join(map(str, volume.shape or ())),
                "x".join(f"{value:.3g}" for value in volume.spacing_mm or ()),
                str(volume.max_slices),
            )
            for volume in shown
        ]
    )
    if len(made.embeddable) > len(shown):
        lines.append(f"and {len(made.embeddable) - len(shown)} more")
    warned = [(str(v.candidate.key), note) for v in made.embeddable for note in v.warnings]
    if warned:
        lines += ["", "warnings", *columns(warned[:SHOWN_VOLUMES])]
    if made.refused:
        lines += ["", "cannot be embedded"]
        lines += [f"  {volume.candidate.key}: {volume.refusal}" for volume in made.refused[:SHOWN_REFUSED]]
        if len(made.refused) > SHOWN_REFUSED:
            lines.append(f"  and {len(made.refused) - SHOWN_REFUSED} more, which --json lists")
    lines += ["", *made.notes]
    if made.withdrawn:
        lines.append(said_of_withdrawn(made.withdrawn))
    bound = "an unknown size" if size is None else f"at most {in_units(size)}"
    lines.append(
        f"{counted(len(made.embeddable), 'volume')} to embed, {len(made.refused)} cannot be; "
        f"at most {counted(made.slices, 'slice')}, a store of {bound}"
    )
    return "\n".join(lines)


SizedPlan = tuple["AskedStore", "ExtractionPlan", int | None]
"""One of several stores, its plan, and the upper bound of its bytes."""


def describe_stores(several: Sequence[SizedPlan]) -> list[str]:
    """A line for each of several stores."""
    return [
        f"store {asked.name}: {asked.location or 'nowhere yet'}, at most {counted(plan.slices, 'slice')}, "
        + ("an unknown size" if size is None else f"at most {in_units(size)}")
        for asked, plan, size in several
    ]


def stores_json(several: Sequence[SizedPlan]) -> dict[str, Any]:
    """The same as JSON, by name."""
    return {
        asked.name: {"store": asked.location, "max_slices": plan.slices, "max_bytes": size}
        for asked, plan, size in several
    }


def plan_json(made: ExtractionPlan, size: int | None) -> dict[str, Any]:
    """The plan as one JSON object."""
    from extract.planning.plan import withdrawn_json

    return {
        "volumes": [
            {
                "participant_id": volume.candidate.key.participant_id,
                "session_id": volume.candidate.key.session_id,
                "volume_id": volume.candidate.key.volume_id,
                "path": volume.candidate.shown,
                "shape": volume.shape,
                "spacing_mm": volume.spacing_mm,
                "max_slices": volume.max_slices,
                "refusal": volume.refusal,
                "warnings": volume.warnings,
            }
            for volume in made.volumes
        ],
        "embeddable": len(made.embeddable),
        "refused": len(made.refused),
        "withdrawn": withdrawn_json(made.withdrawn),
        "max_slices": made.slices,
        "max_bytes": size,
        "notes": made.notes,
    }


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Align the cells of a small table."""
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
