"""Stage one, whole: plan, backbone, header, store, and what is left to do.

`extract` may be run again at any time: what is committed and unchanged is not done twice.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from cache_schema.common.errors import MachineError
from cache_schema.common.machine import is_machine, machine_words
from cache_schema.common.pipeline_file import Pipeline
from cache_schema.common.terminal.progress import VolumeCounter, progress_for
from cache_schema.files.remote.urls import require_place
from cache_schema.format.header import Fingerprint
from cache_schema.format.identity import VolumeKey
from cache_schema.format.record import Failure, TableRow
from cache_schema.move.remove import readmit as readmit_to
from cache_schema.store.create import read_header
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
from extract.planning.kept import KeptPlan, keep_plan, kept_plan, plan_place
from extract.planning.plan import ExtractionPlan, withdrawn_json
from extract.planning.room import require_places, require_store_room
from extract.planning.shard import Shard

Engine = Callable[[Pending, Station, VolumeCounter, EngineTally], None]
"""Embeds and commits what is left to do, and counts it, also on the way to an error."""


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
    volumes: tuple[VolumeKey, ...] = ()
    """Of the input, whatever became of them."""

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
    engine: Engine | None = None,
    wanted: Fingerprint | None = None,
) -> Outcome:
    """Embed every volume of the input that the store does not hold yet, or those of one share.

    This is the door: the section is taken apart here, and no room behind it sees more than it needs.

    Args:
        pipeline: Says where store and run folder are.
        section: Its validated `extract` section.
        progress: Whether to report on standard error.
        readmit: Participants who were withdrawn from the store, and are taken back.
        shard: One share of the plan that is kept in the run folder, which is made when there is none.
        engine: Who embeds what is left; this process by default.
        wanted: What the embeddings must be, whatever the section says.

    Raises:
        ConfigError: For a mistake in what was asked.
        StoreMismatch: If the store was made otherwise, or the section says other embeddings than are wanted.
        MachineError: If run folder or store cannot be written to, or the disk is full; what was committed
            stays.
    """
    location, folder = pipeline.store(), pipeline.folder()
    require_place(location, "extract")
    require_places(folder, location)
    mine, rows, longest = _to_do(pipeline, section, readmit, shard)
    station = open_station(section, pipeline.base, location, rows, longest=longest, wanted=wanted)
    changes = Changes.against(folder / "extract" / SEEN, section.check_hashes)
    pending = sort_out(mine.embeddable, station.writer, changes, section.replace)
    changes.remember()
    start = time.perf_counter()
    refused = record_refusals(mine.refused, station.writer)
    embeds = engine or partial(locally, shard="" if shard is None else str(shard))
    tally = _embed(pending, station, progress, embeds)
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
        volumes=tuple(volume.candidate.key for volume in mine.volumes),
    )


def _to_do(
    pipeline: Pipeline, section: ExtractSection, readmit: Sequence[str], shard: Shard | None
) -> tuple[ExtractionPlan, Sequence[TableRow], int]:
    """What this process does, the rows that the store must have for it, and the most slices of any volume."""
    if shard is None:
        whole = planned(pipeline, section, readmit)
        return whole, whole.rows(), whole.longest
    location, kept = pipeline.store(), planned_once(pipeline, section)
    mine = without_withdrawn(kept.share(shard), tombstones_at(location))
    # A store that is there has rows for all; whoever makes it gives rows to all.
    rows = (mine if read_header(location) is not None else kept.whole()).rows()
    return mine, rows, kept.longest


def planned(pipeline: Pipeline, section: ExtractSection, readmit: Sequence[str] = ()) -> ExtractionPlan:
    """The plan of a section for its store, made now.

    Raises:
        ConfigError: If the input cannot be understood, or has an id that the store has in another spelling.
    """
    location = pipeline.store()
    plan = plan_for_store(location, section, pipeline.base, readmit)
    refuse_twins_of_store(location, plan)
    if readmit:
        readmit_to(location, readmit)
    return plan


def planned_once(pipeline: Pipeline, section: ExtractSection) -> KeptPlan:
    """The plan that is kept in the run folder; whoever finds none makes it, and all take the first's.

    Raises:
        ConfigError: If the input cannot be understood, or the plan that is kept is one of something else.
    """
    place = plan_place(pipeline.folder())
    found = kept_plan(place, section, pipeline.base)
    if found is None:
        keep_plan(place, planned(pipeline, section), section, pipeline.base, first=True)
        found = kept_plan(place, section, pipeline.base)
    if found is None:
        raise MachineError(f"cannot read {str(place)!r}: it was deleted as soon as it was written")
    return found


def create_planned(
    pipeline: Pipeline, section: ExtractSection, readmit: Sequence[str] = ()
) -> ExtractionPlan:
    """Plan, keep the plan for the tasks of a cluster, and create the store, its numerics left open.

    Raises:
        ConfigError: For a mistake in what was asked.
        StoreMismatch: If the store is there and was made otherwise.
    """
    location = pipeline.store()
    require_place(location, "plan --create")
    require_places(pipeline.folder(), location)
    plan = planned(pipeline, section, readmit)
    open_station(section, pipeline.base, location, plan.rows(), longest=plan.longest)
    keep_plan(plan_place(pipeline.folder()), plan, section, pipeline.base, first=False)
    return plan


def _embed(pending: Pending, station: Station, progress: bool, engine: Engine) -> EngineTally:
    """Embed and commit what is left to do."""
    tally, left, section = EngineTally(), pending.volumes, station.section
    if not left:
        return tally
    # Else the store may as well be read-only.
    require_store_room(station.writer.location, station.writer.header, left, section.check_space)
    with progress_for(len(left), progress) as shown, _saying_what_stays(tally):
        engine(pending, station, shown, tally)
    return tally


def locally(
    pending: Pending, station: Station, progress: VolumeCounter, tally: EngineTally, shard: str = ""
) -> None:
    """Embed and commit in this process; `shard` names the share that it is, if it is one."""
    section, left = station.section, pending.volumes
    embedder = station.embedder()
    workers = choose_workers(section.workers, station.device, station.machine, len(left))
    steps, writer = section.preprocessing, station.writer
    run_local(left, steps, embedder, writer, workers, progress, tally, pending.replacing, shard)
    tally.notes += embedder.notes


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
