"""Stage one, whole: plan, backbone, header, store, and what is left to do.

`extract` may be run again at any time: what is committed and unchanged is not done twice.
"""

import csv
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from cache_schema.common.pipeline_file import Pipeline
from cache_schema.common.progress import progress_for
from cache_schema.common.text.cells import safe_cell
from cache_schema.format.header import Header
from cache_schema.format.record import Failure
from cache_schema.store.create import read_header
from cache_schema.store.reader import open_store
from cache_schema.store.writer import StoreWriter
from extract.backbones.backbone import Backbone
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
from extract.engines.pending import record_refusals, sort_out
from extract.planning.config import ExtractSection
from extract.planning.plan import ExtractionPlan, plan_extraction

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
    notes: tuple[str, ...] = ()
    """What was changed on the way, e.g. a halved batch."""
    failures_table: str = ""
    """Path of `failures.tsv`."""

    def as_json(self) -> dict[str, Any]:
        """The outcome as one JSON object."""
        return {
            "store": self.store,
            "embedded": self.embedded,
            "skipped": self.skipped,
            "failed": self.failed,
            "slices": self.slices,
            "seconds": round(self.seconds, 3),
            "content_digest": self.content_digest,
            "failures": [failure.model_dump(include=set(FAILURE_COLUMNS)) for failure in self.failures],
            "failures_table": self.failures_table,
            "notes": list(self.notes),
        }


def run_extraction(pipeline: Pipeline, section: ExtractSection, progress: bool = True) -> Outcome:
    """Embed every volume of the input that the store does not hold yet.

    This is the door: the section is taken apart here, and no room behind it sees more than it needs.

    Args:
        pipeline: Says where store and run folder are.
        section: Its validated `extract` section.
        progress: Whether to report on standard error.

    Raises:
        ConfigError: For a mistake in what was asked.
        StoreMismatch: If the store was made otherwise.
    """
    location, preprocessing, machine = pipeline.store(), section.preprocessing, this_machine()
    plan = plan_extraction(section.input, pipeline.base, preprocessing)
    device = choose_device(section.device, machine)
    backbone, header = _backbone_and_header(section, pipeline.base, plan, device, machine, location)
    writer = StoreWriter.open(location, header, plan.rows())
    names = frozenset(spec.name for spec in writer.header.arrays)
    mean, std = preprocessing.mean, preprocessing.std
    embedder = Embedder(backbone, device, names, section.batch_size, mean, std)
    pending = sort_out(plan.embeddable, writer, section.replace)
    start = time.perf_counter()
    refused = record_refusals(plan.refused, writer)
    tally = EngineTally()
    if pending.volumes:
        workers = choose_workers(section.workers, device, machine, len(pending.volumes))
        with progress_for(len(pending.volumes), progress) as shown:
            tally = run_local(
                pending.volumes, preprocessing, embedder, writer, workers, shown, pending.replacing
            )
    seconds = time.perf_counter() - start
    failures = sorted((*refused, *pending.unusable, *tally.failures), key=lambda failure: failure.key)
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
        notes=(*pending.notes, *embedder.notes),
        failures_table=str(table),
    )


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


def write_failures(path: Path, failures: Sequence[Failure]) -> None:
    """One row per volume that could not be used, with the reason; only the header when there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as stream:
        table = csv.writer(stream, delimiter="\t", lineterminator="\n")
        table.writerow(FAILURE_COLUMNS)
        for failure in failures:
            cells = (" ".join(str(getattr(failure, name)).split()) for name in FAILURE_COLUMNS)
            table.writerow(map(safe_cell, cells))
