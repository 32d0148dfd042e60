"""Stage one, whole: plan, backbone, header, store, and what is left to do.

`extract` may be run again at any time: what is committed and unchanged is not done twice.
"""

import csv
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from cache_schema.common.errors import MachineError
from cache_schema.common.machine import is_machine, machine_words
from cache_schema.common.pipeline_file import Pipeline
from cache_schema.common.terminal.progress import progress_for
from cache_schema.common.text.cells import safe_cell
from cache_schema.files.disk.whole import replacing
from cache_schema.files.remote.urls import require_place
from cache_schema.format.header import Header
from cache_schema.format.identity import VolumeKey
from cache_schema.format.record import Failure
from cache_schema.move.remove import readmit as readmit_to
from cache_schema.store.create import read_header
from cache_schema.store.reader import open_store
from cache_schema.store.writer import StoreWriter
from extract.backbones.backbone import Backbone
from extract.engines.changes import SEEN, Changes
from extract.engines.device import (
    DTYPES,
    Machine,
    choose_device,
    choose_dtype,
    choose_workers,
    this_machine,
)
from extract.engines.embed import Embedder
from extract.engines.header import make_header, provenance
from extract.engines.local import EngineTally, run_local
from extract.engines.pending import Pending, record_refusals, sort_out
from extract.planning.config import ExtractSection
from extract.planning.for_store import plan_for_store, refuse_twins_of_store
from extract.planning.plan import ExtractionPlan, withdrawn_json
from extract.planning.room import require_places, require_store_room
from extract.slices.preprocessing import Preprocessing

FAILURE_COLUMNS = ("participant_id", "session_id", "volume_id", "path", "reason")


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
    failures: tuple[Failure, ...]
    """With paths as the user gave them."""
    notes: tuple[str, ...] = ()
    """What the input holds beside its volumes, and what was changed on the way, e.g. a halved batch."""
    failures_table: str = ""
    """Path of `failures.tsv`."""
    withdrawn: tuple[VolumeKey, ...] = ()
    """Volumes of the input whose participant was withdrawn from the store: left out, and no failure."""

    def as_json(self) -> dict[str, Any]:
        """The outcome as one JSON object."""
        return {
            "store": self.store,
            "embedded": self.embedded,
            "skipped": self.skipped,
            "failed": self.failed,
            "withdrawn": withdrawn_json(self.withdrawn),
            "slices": self.slices,
            "seconds": round(self.seconds, 3),
            "content_digest": self.content_digest,
            "failures": [failure.model_dump(include=set(FAILURE_COLUMNS)) for failure in self.failures],
            "failures_table": self.failures_table,
            "notes": list(self.notes),
        }


def run_extraction(
    pipeline: Pipeline, section: ExtractSection, progress: bool = True, readmit: Sequence[str] = ()
) -> Outcome:
    """Embed every volume of the input that the store does not hold yet.

    This is the door: the section is taken apart here, and no room behind it sees more than it needs.

    Args:
        pipeline: Says where store and run folder are.
        section: Its validated `extract` section.
        progress: Whether to report on standard error.
        readmit: Participants who were withdrawn from the store, and are taken back.

    Raises:
        ConfigError: For a mistake in what was asked.
        StoreMismatch: If the store was made otherwise.
        MachineError: If run folder or store cannot be written to, or the disk is full; what was committed
            stays.
    """
    location, preprocessing, machine = pipeline.store(), section.preprocessing, this_machine()
    require_place(location, "extract")
    require_places(pipeline.folder(), location)
    plan = plan_for_store(location, section, pipeline.base, readmit)
    device = choose_device(section.device, machine)
    backbone, header = _backbone_and_header(section, pipeline.base, plan, device, machine, location)
    refuse_twins_of_store(location, plan)
    if readmit:
        readmit_to(location, readmit)
    writer = StoreWriter.open(location, header, plan.rows(), durable=section.fsync)
    names = frozenset(spec.name for spec in writer.header.arrays)
    mean, std = preprocessing.mean, preprocessing.std
    embedder = Embedder(backbone, device, names, section.batch_size, mean, std)
    changes = Changes.against(pipeline.folder() / "extract" / SEEN, section.check_hashes)
    pending = sort_out(plan.embeddable, writer, changes, section.replace)
    changes.remember()
    start = time.perf_counter()
    refused = record_refusals(plan.refused, writer)
    workers = choose_workers(section.workers, device, machine, len(pending.volumes))
    if pending.volumes:  # else the store may as well be read-only
        require_store_room(location, writer.header, pending.volumes, section.check_space)
    tally = _embed(pending, preprocessing, embedder, writer, workers, progress)
    seconds = time.perf_counter() - start
    failures = as_given((*refused, *pending.unusable, *tally.failures), plan)
    table = pipeline.folder() / "failures.tsv"
    write_failures(table, failures)
    return Outcome(
        store=location,
        embedded=tally.embedded,
        skipped=pending.skipped,
        failed=len(failures),
        slices=tally.slices,
        seconds=seconds,
        content_digest=open_store(location).content_digest(),
        failures=tuple(failures),
        notes=(*plan.notes, *pending.notes, *embedder.notes),
        failures_table=str(table),
        withdrawn=tuple(sorted((*plan.withdrawn, *tally.withdrawn))),
    )


def _embed(
    pending: Pending,
    preprocessing: Preprocessing,
    embedder: Embedder,
    writer: StoreWriter,
    workers: int,
    progress: bool,
) -> EngineTally:
    """Embed and commit what is left to do."""
    tally, left = EngineTally(), pending.volumes
    if left:
        with progress_for(len(left), progress) as shown, _saying_what_stays(tally):
            run_local(left, preprocessing, embedder, writer, workers, shown, tally, pending.replacing)
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


def _backbone_and_header(
    section: ExtractSection,
    base: Path,
    plan: ExtractionPlan,
    device: torch.device,
    machine: Machine,
    location: str,
) -> tuple[Backbone, Header]:
    """Build the backbone, and the header that a store of this section has."""
    existing = read_header(location)
    compute = choose_dtype(
        section.dtype, device, machine, existing.numerics.compute_dtype if existing else None
    )
    preprocessing = section.preprocessing
    backbone = section.build_backbone(base, device, DTYPES[compute])
    header = make_header(
        backbone,
        preprocessing,
        tokens=section.tokens,
        compute=compute,
        storage=section.storage,
        slice_chunk=max([1, *(planned.max_slices for planned in plan.embeddable)]),
        created=provenance(device, base, section.batch_size, section.model_dump(mode="json")),
    )
    return backbone, header


def as_given(failures: Iterable[Failure], plan: ExtractionPlan) -> list[Failure]:
    """Failures sorted by key, with the paths that the user gave; the store has their private form."""
    shown = {volume.candidate.key: volume.candidate.shown for volume in plan.volumes}
    return [
        failure.model_copy(update={"path": shown[failure.key]})
        for failure in sorted(failures, key=lambda failure: failure.key)
    ]


def write_failures(path: Path, failures: Sequence[Failure]) -> None:
    """One row per volume that could not be used, with the reason; only the header when there is none."""
    with replacing(path) as beside, beside.open("w", encoding="utf-8", newline="") as stream:
        table = csv.writer(stream, delimiter="\t", lineterminator="\n")
        table.writerow(FAILURE_COLUMNS)
        for failure in failures:
            cells = (" ".join(str(getattr(failure, name)).split()) for name in FAILURE_COLUMNS)
            table.writerow(map(safe_cell, cells))
