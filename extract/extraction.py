"""Stage one, whole: plan, backbones, headers, stores, and what is left to do.

`extract` may be run again at any time: what is committed and unchanged is not done twice. Several stores are
made from one decoding: a volume is read when one of them lacks it, and prepared and embedded for those alone.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from cache_schema.common.errors import MachineError
from cache_schema.common.machine import is_machine, machine_words
from cache_schema.common.pipeline_file import Pipeline
from cache_schema.common.terminal.progress import VolumeCounter, progress_for
from cache_schema.files.remote.urls import require_place
from cache_schema.format.header import Fingerprint
from cache_schema.format.identity import VolumeKey
from cache_schema.format.record import Failure
from cache_schema.store.reader import open_store
from extract.engines.changes import SEEN, Changes
from extract.engines.device import gpus_to_divide
from extract.engines.left import StoreLeft, embed_here
from extract.engines.local import EngineTally
from extract.engines.over_gpus.engine import over_gpus
from extract.engines.pending import Pending, record_refusals, sort_out
from extract.engines.station import BuiltBackbones, Station, open_station
from extract.failures_table import as_given, write_failures, write_shard_failures
from extract.outcome import Outcome
from extract.planning.config import AskedStore, ExtractSection, asked_stores
from extract.planning.for_store import plan_of_each
from extract.planning.plan import ExtractionPlan
from extract.planning.room import require_places, require_store_room
from extract.planning.shard import Shard
from extract.planning.stated import each_with_stated_canvas
from extract.planning.to_do import ToDo, keep_anew, planned, to_do

Engine = Callable[[Sequence[StoreLeft], VolumeCounter], None]
"""Embeds and commits what is left to do for every store, and counts it, also on the way to an error."""

Agreed = Callable[[Sequence[VolumeKey]], None]
"""Raises where volumes should not be embedded."""


@dataclass(slots=True)
class _Part:
    """One store's part of a run."""

    asked: AskedStore
    plan: ExtractionPlan
    station: Station
    pending: Pending
    refused: list[Failure]
    tally: EngineTally = field(default_factory=EngineTally)


def run_extraction(
    pipeline: Pipeline,
    section: ExtractSection,
    progress: bool = True,
    readmit: Sequence[str] = (),
    shard: Shard | None = None,
    engine: Engine | None = None,
    wanted: Fingerprint | None = None,
    agreed: Agreed | None = None,
) -> Outcome:
    """Embed every volume of the input that a store does not hold yet, or those of one share.

    This is the door: the section is taken apart here, and no room behind it sees more than it needs.

    Args:
        pipeline: Says where stores and run folder are.
        section: Its validated `extract` section.
        progress: Whether to report on standard error.
        readmit: Participants who were withdrawn from a store, and are taken back.
        shard: One share of the plan that is kept in the run folder, which is made when there is none.
        engine: Who embeds what is left; this process by default.
        wanted: What the embeddings must be, whatever the section says.
        agreed: Told of every volume that can be embedded before a backbone is built; may end the run.

    Returns:
        What came of the first store, with those of the others beside it.

    Raises:
        ConfigError: For a mistake in what was asked.
        StoreMismatch: If a store was made otherwise, or the section says other embeddings than are wanted.
        MachineError: If run folder or store cannot be written to, or the disk is full; what was committed
            stays.
    """
    asked, folder = asked_stores(pipeline, section), pipeline.folder()
    _require_all_places(asked, folder, "extract")
    asked = each_with_stated_canvas(asked, pipeline.base)
    shares = to_do(pipeline, asked, readmit, shard)
    if agreed is not None:
        agreed([volume.candidate.key for volume in shares[0].mine.embeddable])
    opened = partial(open_station, wanted=wanted, built=BuiltBackbones())
    stations = [
        opened(each.section, pipeline.base, each.location, share.rows, longest=share.longest)
        for each, share in zip(asked, shares, strict=True)
    ]
    parts = [_part(*each, folder) for each in zip(asked, shares, stations, strict=True)]
    start = time.perf_counter()
    for part in parts:
        part.refused = record_refusals(part.plan.refused, part.station.writer)
    _embed(parts, progress, engine, "" if shard is None else str(shard))
    seconds = time.perf_counter() - start
    failures = {part.asked.name: _failures(part) for part in parts}
    table = folder / "failures.tsv"
    if shard is None:
        write_failures(table, failures)
    else:
        write_shard_failures(folder, shard, failures)
    first, *others = (_outcome(part, failures[part.asked.name], seconds, str(table), shard) for part in parts)
    return replace(first, beside=tuple(others))


def _require_all_places(asked: Sequence[AskedStore], folder: Path, verb: str) -> None:
    for each in asked:
        require_place(each.location, verb)
    require_places(folder, [each.location for each in asked])


def _part(asked: AskedStore, share: ToDo, station: Station, folder: Path) -> _Part:
    """What is left to do for one store."""
    changes = Changes.against(folder / "extract" / SEEN, asked.section.check_hashes)
    pending = sort_out(share.mine.embeddable, station.writer, changes, asked.section.replace)
    changes.remember()  # the next store of the run finds the digests there
    return _Part(asked, share.mine, station, pending, [])


def _failures(part: _Part) -> list[Failure]:
    return as_given((*part.refused, *part.pending.unusable, *part.tally.failures), part.plan)


def _outcome(
    part: _Part, failures: Sequence[Failure], seconds: float, table: str, shard: Shard | None
) -> Outcome:
    """What came of one store."""
    tally, location = part.tally, part.asked.location
    return Outcome(
        store=location,
        embedded=tally.embedded,
        skipped=part.pending.skipped,
        failed=len(failures),
        slices=tally.slices,
        seconds=seconds,
        # Of a share alone there is none, and a thousand tasks that each read all records would take a day.
        content_digest=open_store(location).content_digest() if shard is None else "",
        failures=tuple(failures),
        notes=(*part.plan.notes, *part.pending.notes, *part.station.notes, *tally.notes),
        failures_table=table,
        waiting_seconds=tally.time.waiting_seconds,
        busy_seconds=tally.time.busy_seconds,
        workers=tally.workers,
        stages=dict(tally.stages),
        repeated=tally.repeated,
        withdrawn=tuple(sorted((*part.plan.withdrawn, *tally.withdrawn))),
        shard=shard,
        volumes=tuple(volume.candidate.key for volume in part.plan.volumes),
        name=part.asked.name,
    )


def create_planned(
    pipeline: Pipeline, section: ExtractSection, readmit: Sequence[str] = ()
) -> tuple[ExtractionPlan, ...]:
    """Plan, keep the plan for the tasks of a cluster, and create the stores, their numerics left open.

    Returns:
        The plan of each store.

    Raises:
        ConfigError: For a mistake in what was asked.
        StoreMismatch: If a store is there and was made otherwise.
    """
    asked = asked_stores(pipeline, section)
    _require_all_places(asked, pipeline.folder(), "plan --create")
    asked = each_with_stated_canvas(asked, pipeline.base)
    plan = planned(pipeline, asked, readmit)
    plans = plan_of_each(plan, asked)
    built = BuiltBackbones()
    for each, own in zip(asked, plans, strict=True):
        rows, longest = own.rows(), own.longest
        open_station(each.section, pipeline.base, each.location, rows, longest=longest, built=built)
    keep_anew(pipeline, asked, plan)
    return plans


def _embed(parts: Sequence[_Part], progress: bool, engine: Engine | None, shard: str) -> None:
    """Embed and commit what is left to do."""
    left = [part for part in parts if part.pending.volumes]
    if not left:
        return
    # Else the stores may as well be read-only.
    needing = [(part.asked.location, part.station.writer.header, part.pending.volumes) for part in left]
    require_store_room(needing, left[0].asked.section.check_space)
    total = sum(len(part.pending.volumes) for part in left)
    lefts = [StoreLeft(part.pending, part.station, part.tally) for part in left]
    with progress_for(total, progress) as shown, _saying_what_stays([part.tally for part in left]):
        (engine or partial(_on_this_machine, shard=shard))(lefts, shown)


def _on_this_machine(lefts: Sequence[StoreLeft], progress: VolumeCounter, shard: str) -> None:
    """Embed and commit in this process, or in one for each of several GPUs; `shard` names a share."""
    station = lefts[0].station
    gpus = gpus_to_divide(station.section.gpus, station.device)
    if gpus:
        over_gpus(gpus, lefts, progress, shard)
    else:
        embed_here(lefts, progress, shard)


@contextmanager
def _saying_what_stays(tallies: Sequence[EngineTally]) -> Iterator[None]:
    """A machine that fails in the middle takes nothing back; say so, beside what happened."""
    try:
        yield
    except (MachineError, OSError) as error:
        if not isinstance(error, MachineError) and not is_machine(error):
            raise
        what = error if isinstance(error, MachineError) else f"cannot go on: {machine_words(error)}"
        embedded = sum(tally.embedded for tally in tallies)
        raise MachineError(
            f"{what}; {embedded} volumes were committed before that and stay, and the same command "
            "goes on from there"
        ) from error
