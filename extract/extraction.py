"""Stage one, whole: plan, backbone, header, store, and what is left to do.

`extract` may be run again at any time: what is committed and unchanged is not done twice.
"""

import csv
import os
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from cache_schema.common.pipeline_file import Pipeline
from cache_schema.common.progress import progress_for
from cache_schema.format.header import Fingerprint, Header, Numerics
from cache_schema.format.layout import token_arrays
from cache_schema.format.record import Failure
from cache_schema.store.create import read_header
from cache_schema.store.reader import open_store
from cache_schema.store.writer import StoreWriter
from extract.backbones.backbone import Backbone, require_storable
from extract.engines.device import DTYPES, Machine, choose_device, choose_dtype, device_name, this_machine
from extract.engines.embed import Embedder
from extract.engines.local import Tally, failure_of, run_local
from extract.engines.pending import is_committed, sort_out
from extract.planning.config import ExtractSection
from extract.planning.plan import Plan, make_plan

FAILURE_COLUMNS = ("participant_id", "session_id", "volume_id", "path", "reason")
LIBRARIES = ("slicecache", "torch", "numpy", "nibabel", "scipy", "pillow", "safetensors", "zarr")
MOST_WORKERS = 16


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


def extract(pipeline: Pipeline, section: ExtractSection, progress: bool = True) -> Outcome:
    """Embed every volume of the input that the store does not hold yet.

    Args:
        pipeline: Says where store and run folder are.
        section: Its validated `extract` section.
        progress: Whether to report on standard error.

    Raises:
        ConfigError: For a mistake in what was asked.
        StoreMismatch: If the store was made otherwise.
    """
    plan = make_plan(section, pipeline.base)
    location, machine = pipeline.store(), this_machine()
    device = choose_device(section.device, machine)
    backbone, header = describe(section, pipeline.base, plan, device, machine, location)
    writer = StoreWriter.open(location, header, plan.rows())
    work = sort_out(plan.embeddable, writer, section.replace)
    embedder = Embedder(
        backbone,
        device,
        frozenset(spec.name for spec in writer.header.arrays),
        section.batch_size,
        section.preprocessing.mean,
        section.preprocessing.std,
    )
    start = time.perf_counter()
    refused = [failure_of(planned.candidate, str(planned.refusal)) for planned in plan.refused]
    for failure in refused:
        # What is committed stays committed, whatever became of its file: the store has no failure of it.
        if not is_committed(writer, failure.key):
            writer.fail(failure)
    tally = Tally()
    if work.volumes:
        workers = choose_workers(section.workers, device, machine, len(work.volumes))
        with progress_for(len(work.volumes), progress) as shown:
            tally = run_local(
                work.volumes, section.preprocessing, embedder, writer, workers, shown, work.replacing
            )
    seconds = time.perf_counter() - start
    failures = sorted((*refused, *work.unusable, *tally.failures), key=lambda failure: failure.key)
    table = pipeline.folder() / "failures.tsv"
    write_failures(table, failures)
    return Outcome(
        store=location,
        embedded=tally.embedded,
        skipped=work.skipped,
        failed=len(failures),
        slices=tally.slices,
        seconds=seconds,
        content_digest=open_store(location).content_digest(),
        failures=tuple(failures),
        notes=(*work.notes, *embedder.notes),
        failures_table=str(table),
    )


def describe(
    section: ExtractSection,
    base: Path,
    plan: Plan,
    device: torch.device,
    machine: Machine,
    location: str,
) -> tuple[Backbone, Header]:
    """Build the backbone, and the header that a store of this section has.

    Raises:
        ConfigError: If the backbone cannot be built as asked, or its tokens could overflow the storage.
    """
    existing = read_header(location)
    compute = choose_dtype(
        section.dtype, device, machine, existing.numerics.compute_dtype if existing else None
    )
    preprocessing = section.preprocessing
    backbone = section.backbone.located(base).build(
        preprocessing.pixels,
        device,
        DTYPES[compute],
        layers=section.layers,
        attention="cls_attention" in section.tokens,
        offline=section.offline,
    )
    require_storable(backbone, section.storage)
    header = Header(
        fingerprint=Fingerprint(
            backbone=backbone.identity,
            preprocessing=preprocessing.fingerprint_steps(),
            slices=preprocessing.fingerprint_slices(),
        ),
        numerics=Numerics(
            compute_dtype=compute, storage_dtype=section.storage, resize_backend=preprocessing.resize_backend
        ),
        arrays=token_arrays(
            section.tokens,
            dim=backbone.dim,
            heads=backbone.heads,
            grid=backbone.grid,
            dtype=section.storage,
            layers=backbone.identity.layers,
        ),
        slice_chunk=max([1, *(planned.max_slices for planned in plan.embeddable)]),
        created=provenance(section, base, device),
    )
    return backbone, header


def provenance(section: ExtractSection, base: Path, device: torch.device) -> dict[str, Any]:
    """Everything about the making of a store that is in neither hash."""
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "host": platform.node(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "libraries": {name: library_version(name) for name in LIBRARIES},
        "command": list(sys.argv),
        "folder": os.path.abspath(base),
        "batch_size": section.batch_size,
        "configuration": section.model_dump(mode="json"),
    }


def library_version(name: str) -> str | None:
    """Installed version, or None."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def choose_workers(asked: int | None, device: torch.device, machine: Machine, volumes: int) -> int:
    """Decoding processes: as many as there are cores, one less beside a GPU, whose feeding needs one.

    On a CPU they yield to the backbone (see `decode.NICENESS`), so that many of them do no harm; for one
    or two volumes a process takes longer to start than it saves.
    """
    if asked is not None:
        return asked
    if volumes <= 2:
        return 0
    cores = machine.cpu_count if device.type == "cpu" else machine.cpu_count - 1
    return max(1, min(cores, MOST_WORKERS, volumes))


def write_failures(path: Path, failures: Sequence[Failure]) -> None:
    """One row per volume that could not be used, with the reason; only the header when there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as stream:
        table = csv.writer(stream, delimiter="\t", lineterminator="\n")
        table.writerow(FAILURE_COLUMNS)
        for failure in failures:
            table.writerow(" ".join(str(getattr(failure, name)).split()) for name in FAILURE_COLUMNS)
