"""`extract --engine slurm`: plan, write two scripts, hand them in, and say what to type next."""

import json
import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import typer
from pydantic import ValidationError

from cache_schema.cluster.site import FoundSite, find_site
from cache_schema.common.errors import ConfigError, SlicecacheError
from cache_schema.common.machine import machine_said
from cache_schema.common.pipeline_file import Pipeline
from cache_schema.files.disk.whole import write_whole
from cache_schema.store.create import read_header
from cache_schema.store.reader import open_store
from extract.cluster.submit import Submitted, cancel_waiting, require_slurm, submit, tasks_in_queue
from extract.cluster.tasks import FOLDER, Asked, needed, shares_left, uncommitted, written
from extract.extraction import create_planned
from extract.planning.config import ExtractSection, asked_stores
from extract.planning.for_store import plan_for_stores

KEPT = "submitted.json"


@dataclass(frozen=True, slots=True)
class Jobs:
    """What was written and handed in."""

    store: str
    folder: Path
    """Of scripts and logs."""
    shares: tuple[int, ...]
    """Those that are handed in now: work is left in them, and none of them waits or runs already."""
    tasks: int
    volumes: int
    """Left to embed."""
    refused: int
    """That cannot be embedded, by their headers."""
    array: str | None
    """Job ids; None where nothing was handed in."""
    finish: str | None

    def as_json(self) -> dict[str, Any]:
        """The whole as one JSON object."""
        return {
            "engine": "slurm",
            "store": self.store,
            "scripts": str(self.folder),
            "array_job": self.array,
            "finish_job": self.finish,
            "shares": list(self.shares),
            "tasks": self.tasks,
            "volumes": self.volumes,
            "refused": self.refused,
        }

    def in_words(self) -> str:
        """What was handed in, and what to type next."""
        status = f"slicecache status {shlex.quote(self.store)}"
        if self.array is None and self.finish is None:
            said = f"{self.volumes} volumes are left, and tasks that embed them wait or run already"
            return f"{said if self.volumes else 'nothing is left to do'}; `{status}` says how far it is"
        lines = []
        if self.array is not None:
            some = "" if len(self.shares) == self.tasks else f" of {self.tasks}"
            lines.append(
                f"array job {self.array}: {len(self.shares)}{some} tasks, {self.volumes} volumes to embed"
            )
        lines.append(f"finishing job {self.finish}: verifies, seals and packs when they have ended")
        if self.refused:
            lines.append(f"{self.refused} volumes cannot be embedded; `slicecache plan` says why")
        lines += [f"scripts and logs are in {self.folder}", f"next: {status}"]
        return "\n".join(lines)


def by_slurm(pipeline: Pipeline, section: ExtractSection, asked: Asked, dry_run: bool, as_json: bool) -> int:
    """Hand in the jobs, or print the scripts; the exit code.

    Raises:
        ConfigError: If the section makes several stores.
    """
    if section.stores:
        raise ConfigError(
            f"--engine slurm makes one store, and extract.stores names {len(section.stores)}: submit an "
            f"array of your own, each task `slicecache extract {asked.pipeline} --shard auto`, which decodes "
            "once for all of them"
        )
    if dry_run:
        scripts = scripts_of(pipeline, section, asked)
        texts = [f"# ---- {pipeline.folder() / FOLDER / name}\n{text}" for name, text in scripts.items()]
        typer.echo(json.dumps({"engine": "slurm", "scripts": scripts}) if as_json else "\n".join(texts))
        return 0
    jobs = extract_by_slurm(pipeline, section, asked)
    typer.echo(json.dumps(jobs.as_json()) if as_json else jobs.in_words())
    return 1 if jobs.refused else 0


def scripts_of(pipeline: Pipeline, section: ExtractSection, asked: Asked) -> dict[str, str]:
    """The scripts as they would be handed in, by file name; nothing is written and nobody asked.

    Raises:
        ConfigError: If something that was asked cannot be.
    """
    found = site_for(section, asked)
    plan = plan_for_stores(asked_stores(pipeline, section), pipeline.base, asked.readmit)
    left = uncommitted(pipeline.store(), plan.embeddable)
    needs = needed(found, section, pipeline, left)
    return written(found, pipeline, section, asked, needs, range(needs.tasks), needs.tasks, plan)


def extract_by_slurm(pipeline: Pipeline, section: ExtractSection, asked: Asked) -> Jobs:
    """Plan, and hand in what is left to do.

    It may be typed again at any time: shares that are done, wait or run are left alone.

    Raises:
        ConfigError: If something that was asked cannot be, or Slurm does not take a script.
        MachineError: If Slurm is not there, or the run folder cannot be written to.
    """
    require_slurm()
    found = site_for(section, asked)
    # The device is the node's, not that of the machine where this is typed; and weights must be there by now.
    here = section.model_copy(update={"device": "auto", "offline": True})
    (plan,) = create_planned(pipeline, here, asked.readmit)
    left = uncommitted(pipeline.store(), plan.embeddable)
    before = read_submitted(pipeline.folder() / FOLDER / KEPT)
    busy = frozenset() if before is None else tasks_in_queue(before.arrays)
    needs = needed(found, section, pipeline, left)
    # While tasks of an earlier array are in the queue, the work stays divided as it is.
    tasks = before.tasks if before is not None and busy else needs.tasks
    shares = shares_left(plan.embeddable, left, tasks, busy)
    jobs = Jobs(
        pipeline.store(), pipeline.folder() / FOLDER, shares, tasks, len(left), len(plan.refused), None, None
    )
    if not shares and (left or is_sealed(pipeline.store())):
        return jobs
    scripts = written(found, pipeline, section, asked, needs, shares, tasks, plan)
    return hand_in(jobs, scripts, before if busy else None)


def hand_in(jobs: Jobs, scripts: dict[str, str], running: Submitted | None) -> Jobs:
    """Write the scripts and submit them; the last task waits for what is in the queue already, too.

    Args:
        jobs: What is to be done.
        scripts: By file name.
        running: What was handed in before, while it is in the queue.

    Raises:
        ConfigError: If Slurm does not take a script.
        MachineError: If Slurm is not there, or the run folder cannot be written to.
    """
    with machine_said("write", jobs.folder):
        (jobs.folder / "logs").mkdir(parents=True, exist_ok=True)
    for name, text in scripts.items():
        write_whole(jobs.folder / name, text.encode())
    array = submit(jobs.folder / "extract.sh") if jobs.shares else None
    arrays = [*([array] if array else []), *(running.arrays if running else [])]
    after = [f"--dependency=afterany:{':'.join(arrays)}"] if arrays else []
    try:
        finish = submit(jobs.folder / "finish.sh", after)
    except SlicecacheError as error:
        raise type(error)(
            f"the array runs as job {array}, but the task that finishes does not: {error}"
        ) from error
    if running is not None:
        cancel_waiting(running.finish)
    kept = Submitted(arrays=tuple(arrays), finish=finish, tasks=jobs.tasks)
    write_whole(jobs.folder / KEPT, kept.model_dump_json().encode())
    return replace(jobs, array=array, finish=finish)


def site_for(section: ExtractSection, asked: Asked) -> FoundSite:
    """The cluster's settings, without a GPU where the pipeline wants none."""
    found = find_site(asked.site)
    if section.device != "cpu":
        return found
    return replace(found, site=found.site.model_copy(update={"gpu": None}))


def is_sealed(location: str) -> bool:
    """Whether a store is there and complete."""
    return read_header(location) is not None and open_store(location).sealed


def read_submitted(path: Path) -> Submitted | None:
    """What was handed in before, if anything was.

    Raises:
        ConfigError: If that cannot be read.
    """
    with machine_said("read", path):
        if not path.exists():
            return None
        data = path.read_bytes()
    try:
        return Submitted.model_validate_json(data)
    except ValidationError as error:
        raise ConfigError(
            f"{str(path)!r} cannot be read; delete it when no job of this run waits or runs"
        ) from error
