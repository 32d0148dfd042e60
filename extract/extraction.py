"""Stage one, whole: plan, backbone, header, store, and what is left to do.

`extract` may be run again at any time: what is committed and unchanged is not done twice.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from cache_schema.common.errors import MachineError
from cache_schema.common.machine import is_machine, machine_words
from cache_schema.common.pipeline_file import Pipeline
from cache_schema.common.terminal.progress import progress_for
from cache_schema.files.remote.urls import require_folder_place
from cache_schema.format.identity import VolumeKey
from cache_schema.format.record import Failure
from cache_schema.move.remove import readmit as readmit_to
from cache_schema.store.reader import open_store
from cache_schema.store.withdrawn import tombstones_at
from cache_schema.workers.share import share_of
from extract.engines.changes import SEEN, Changes
from extract.engines.device import choose_workers
from extract.engines.local import EngineTally, run_local
from extract.engines.pending import Pending, record_refusals, sort_out
from extract.engines.station import Station, open_station
from extract.failures_table import FAILURE_COLUMNS, as_given, write_failures, write_shard_failures
from extract.planning.config import ExtractSection
from extract.planning.for_store import plan_for_store, refuse_twins_of_store, without_withdrawn
from extract.planning.kept import keep_plan, kept_plan, plan_place
from extract.planning.plan import ExtractionPlan, withdrawn_json
from extract.planning.room import require_places, require_store_room
from extract.planning.shard import Shard, share_of_plan


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an extraction did."""

    store: str
    embedded: int
    """Volumes embedded and committed now."""
    skipped: int
    """Volumes that were committed before and whose source is unchanged."""
    failed: int
    slices: int
    """Slices embedded now."""
    seconds: float
    """From the open store to the last commit; planning and loading the backbone are not in it."""
    content_digest: str
    """Over the committed volumes; empty for one share."""
    failures: tuple[Failure, ...]
    """With paths as the user gave them."""
    notes: tuple[str, ...] = ()
    """What the input holds beside its volumes, and what was changed on the way, e.g. a halved batch."""
    failures_table: str = ""
    """Path of `failures.tsv`."""
    waiting_seconds: float = 0.0
    """In which the device had nothing to do, because the next image was not decoded."""
    busy_seconds: float = 0.0
    """All other time since the first image."""
    workers: int = 0
    """Decoding processes."""
    withdrawn: tuple[VolumeKey, ...] = ()
    """Volumes of the input whose participant was withdrawn from the store: left out, and no failure."""
    shard: Shard | None = None
    """The share that this was."""

    def as_json(self) -> dict[str, Any]:
        """The outcome as one JSON object."""
        return {
            "store": self.store,
            "shard": None if self.shard is None else str(self.shard),
            "embedded": self.embedded,
            "skipped": self.skipped,
            "failed": self.failed,
            "withdrawn": withdrawn_json(self.withdrawn),
            "slices": self.slices,
            "seconds": round(self.seconds, 3),
            "waiting_seconds": round(self.waiting_seconds, 3),
            "waiting_share": share_of(self.waiting_seconds, self.busy_seconds),
            "content_digest": self.content_digest,
            "failures": [failure.model_dump(include=set(FAILURE_COLUMNS)) for failure in self.failures],
            "failures_table": self.failures_table,
            "notes": list(self.notes),
        }


def run_extraction(
    pipeline: Pipeline,
    section: ExtractSection,
    progress: bool = True,
    readmit: Sequence[str] = (),
    shard: Shard | None = None,
) -> Outcome:
    """Embed every volume of the input that the store does not hold yet, or those of one share.

    This is the door: the section is taken apart here, and no room behind it sees more than it needs.

    Args:
        pipeline: Says where store and run folder are.
        section: Its validated `extract` section.
        progress: Whether to report on standard error.
        readmit: Participants who were withdrawn from the store, and are taken back.
        shard: One share of the plan that is kept in the run folder, which is made when there is none.

    Raises:
        ConfigError: For a mistake in what was asked.
        StoreMismatch: If the store was made otherwise.
        MachineError: If run folder or store cannot be written to, or the disk is full; what was committed
            stays.
    """
    location, folder = pipeline.store(), pipeline.folder()
    require_folder_place(location, "extract")
    require_places(folder, location)
    plan = planned(pipeline, section, readmit, kept=shard is not None)
    mine = plan if shard is None else share_of_plan(plan, shard)
    station = open_station(section, pipeline.base, location, plan.rows(), longest=plan.longest)
    changes = Changes.against(folder / "extract" / SEEN, section.check_hashes)
    pending = sort_out(mine.embeddable, station.writer, changes, section.replace)
    changes.remember()
    start = time.perf_counter()
    refused = record_refusals(mine.refused, station.writer)
    tally = _embed(pending, station, progress, shard)
    seconds = time.perf_counter() - start
    failures = as_given((*refused, *pending.unusable, *tally.failures), mine)
    table = folder / "failures.tsv"
    if shard is None:
        write_failures(table, failures)
    else:
        write_shard_failures(folder, shard, failures)
    return Outcome(
        store=location,
        embedded=tally.embedded,
        skipped=pending.skipped,
        failed=len(failures),
        slices=tally.slices,
        seconds=seconds,
        # Of a share alone there is none, and a thousand tasks that each read all records would take a day.
        content_digest=open_store(location).content_digest() if shard is None else "",
        failures=tuple(failures),
        notes=(*mine.notes, *pending.notes, *station.notes, *tally.notes),
        failures_table=str(table),
        waiting_seconds=tally.time.waiting_seconds,
        busy_seconds=tally.time.busy_seconds,
        workers=tally.workers,
        withdrawn=tuple(sorted((*mine.withdrawn, *tally.withdrawn))),
        shard=shard,
    )


def planned(
    pipeline: Pipeline, section: ExtractSection, readmit: Sequence[str], *, kept: bool
) -> ExtractionPlan:
    """The plan of a section, made now, or the one that is kept in the run folder.

    Args:
        pipeline: Says where store and run folder are.
        section: Its validated `extract` section.
        readmit: Participants who are taken back.
        kept: Take the plan that is kept, and keep it when there is none.

    Raises:
        ConfigError: If the input cannot be understood, or the plan that is kept is one of something else.
    """
    location, place = pipeline.store(), plan_place(pipeline.folder())
    found = kept_plan(place, section, pipeline.base) if kept else None
    if found is not None:
        return without_withdrawn(found, tombstones_at(location))
    plan = plan_for_store(location, section, pipeline.base, readmit)
    refuse_twins_of_store(location, plan)
    if readmit:
        readmit_to(location, readmit)
    if not kept:
        return plan
    keep_plan(place, plan, section, pipeline.base, first=True)
    return kept_plan(place, section, pipeline.base) or plan  # of several that planned, all take the first's


def create_planned(
    pipeline: Pipeline, section: ExtractSection, readmit: Sequence[str] = ()
) -> ExtractionPlan:
    """Plan, keep the plan for the tasks of a cluster, and create the store, its numerics left open.

    Raises:
        ConfigError: For a mistake in what was asked.
        StoreMismatch: If the store is there and was made otherwise.
    """
    location = pipeline.store()
    require_folder_place(location, "plan --create")
    require_places(pipeline.folder(), location)
    plan = planned(pipeline, section, readmit, kept=False)
    open_station(section, pipeline.base, location, plan.rows(), longest=plan.longest)
    keep_plan(plan_place(pipeline.folder()), plan, section, pipeline.base, first=False)
    return plan


def _embed(pending: Pending, station: Station, progress: bool, shard: Shard | None) -> EngineTally:
    """Embed and commit what is left to do."""
    tally, left, section = EngineTally(), pending.volumes, station.section
    if not left:
        return tally
    # Else the store may as well be read-only.
    require_store_room(station.writer.location, station.writer.header, left, section.check_space)
    embedder = station.embedder()
    workers = choose_workers(section.workers, station.device, station.machine, len(left))
    with progress_for(len(left), progress) as shown, _saying_what_stays(tally):
        run_local(
            left,
            section.preprocessing,
            embedder,
            station.writer,
            workers,
            shown,
            tally,
            pending.replacing,
            "" if shard is None else str(shard),
        )
    tally.notes += embedder.notes
    return tally


@contextmanager
def _saying_what_stays(tally: EngineTally) -> Iterator[None]:
    """A machine that fails in the middle takes nothing back; say so, beside what happened."""
    try:
        yield
    except (MachineError, OSError) as error:
        if not isinstance(error, MachineError) and not is_machine(error):
            raise
        what = error if isinstance(error, MachineError) else f"cannot go on: {machine_words(error)}"
        raise MachineError(
            f"{what}; {tally.embedded} volumes were committed before that and stay, and the same command "
            "goes on from there"
        ) from error
