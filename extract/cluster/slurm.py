"""`extract --engine slurm`: plan, write two scripts, hand them in, and say what to type next."""

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import typer
from pydantic import ValidationError

from cache_schema.cluster.site import FoundSite, find_site
from cache_schema.common.errors import ConfigError, SlicecacheError
from cache_schema.common.machine import machine_said
from cache_schema.common.pipeline_file import Pipeline
from cache_schema.common.text.counts import counted
from cache_schema.files.disk.whole import write_whole
from cache_schema.store.create import read_header
from cache_schema.store.reader import open_store
from extract.cluster.submit import Submitted, cancel_waiting, require_slurm, submit, tasks_in_queue
from extract.cluster.tasks import FOLDER, Asked, keys_of, left_in, needed, shares_left, written
from extract.extraction import create_planned
from extract.planning.config import AskedStore, ExtractSection, asked_stores
from extract.planning.for_store import plan_for_stores, plan_of_each
from extract.planning.stated import each_with_stated_canvas
from extract.planning.to_do import planned_once

KEPT = "submitted.json"


@dataclass(frozen=True, slots=True)
class Jobs:
    """What was written and handed in."""

    stores: dict[str, str]
    """Where each lies, by name."""
    folder: Path
    """Of scripts and logs."""
    shares: tuple[int, ...]
    """Those that are handed in now: work is left in them, and none of them waits or runs already."""
    tasks: int
    volumes: int
    """Left to embed for some store."""
    refused: int
    """That cannot be embedded, by their headers."""
    array: str | None
    """Job ids; None where nothing was handed in."""
    finish: str | None

    def as_json(self) -> dict[str, Any]:
        """The whole as one JSON object."""
        first, *others = self.stores.values()
        return {
            "engine": "slurm",
            "store": first,
            **({"stores": self.stores} if others else {}),
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
        status = [f"slicecache status {shlex.quote(location)}" for location in self.stores.values()]
        if self.array is None and self.finish is None:
            are = "is" if self.volumes == 1 else "are"
            said = (
                f"{counted(self.volumes, 'volume')} {are} left, and tasks that embed them wait or run already"
            )
            return f"{said if self.volumes else 'nothing is left to do'}; `{status[0]}` says how far it is"
        lines = []
        if self.array is not None:
            some = "" if len(self.shares) == self.tasks else f"{len(self.shares)} of "
            tasks = f"{some}{counted(self.tasks, 'task')}"
            lines.append(f"array job {self.array}: {tasks}, {counted(self.volumes, 'volume')} to embed")
        lines.append(f"finishing job {self.finish}: verifies, seals and packs when they have ended")
        if self.refused:
            lines.append(f"{counted(self.refused, 'volume')} cannot be embedded; `slicecache plan` says why")
        lines.append(f"scripts and logs are in {self.folder}")
        return "\n".join([*lines, *(f"next: {each}" for each in status)])


def by_slurm(pipeline: Pipeline, section: ExtractSection, asked: Asked, dry_run: bool, as_json: bool) -> int:
    """Hand in the jobs, or print the scripts; the exit code."""
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
    stores = each_with_stated_canvas(asked_stores(pipeline, section), pipeline.base, fetch=False)
    found = site_for(stores, asked)
    plan = plan_for_stores(stores, pipeline.base, asked.readmit)
    left = left_in(stores, plan_of_each(plan, stores, asked.readmit))
    needs = needed(found, pipeline.base, left)
    return written(found, pipeline, section, asked, needs, range(needs.tasks), needs.tasks, left)


def extract_by_slurm(pipeline: Pipeline, section: ExtractSection, asked: Asked) -> Jobs:
    """Plan, and hand in what is left to do.

    It may be typed again at any time: shares that are done, wait or run are left alone.

    Raises:
        ConfigError: If something that was asked cannot be, or Slurm does not take a script.
        MachineError: If Slurm is not there, or the run folder cannot be written to.
    """
    require_slurm()
    stores = each_with_stated_canvas(asked_stores(pipeline, section), pipeline.base, fetch=False)
    folder = pipeline.folder() / FOLDER
    found = site_for(stores, asked)
    left = left_in(stores, create_planned(pipeline, for_nodes(section), asked.readmit))
    # As the tasks read it: with who was withdrawn from one store alone.
    plan = planned_once(pipeline, stores).whole()
    before = read_submitted(folder / KEPT)
    busy = frozenset() if before is None else tasks_in_queue(before.arrays)
    needs = needed(found, pipeline.base, left)
    # While tasks of an earlier array are in the queue, the work stays divided as it is.
    tasks = before.tasks if before is not None and busy else needs.tasks
    keys = keys_of(left)
    shares = shares_left(plan.embeddable, keys, tasks, busy)
    places = {each.name: each.location for each in stores}
    jobs = Jobs(places, folder, shares, tasks, len(keys), len(plan.refused), None, None)
    if not shares and (keys or all(map(is_sealed, places.values()))):
        return jobs
    scripts = written(found, pipeline, section, asked, needs, shares, tasks, left)
    return hand_in(jobs, scripts, before if busy else None)


def for_nodes(section: ExtractSection) -> ExtractSection:
    """The device is the node's, not that of the machine where this is typed; weights must be there by now."""
    here: dict[str, Any] = {"device": "auto", "offline": True}
    stores = {name: store.model_copy(update=here) for name, store in section.stores.items()}
    return section.model_copy(update=here | {"stores": stores})


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


def site_for(stores: Sequence[AskedStore], asked: Asked) -> FoundSite:
    """The cluster's settings, without a GPU where the pipeline wants none."""
    found = find_site(asked.site)
    if any(each.section.device != "cpu" for each in stores):
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
