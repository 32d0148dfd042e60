"""What the tasks of an array are: what is left, in how many shares, and the words that each is given."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cache_schema.cluster.host import HANDED_ON, environment
from cache_schema.cluster.site import FoundSite
from cache_schema.common.pipeline_file import Pipeline
from cache_schema.store.create import read_header
from cache_schema.store.reader import open_store
from extract.cluster.estimate import Estimate, estimate, finish_needs
from extract.cluster.script import Task, array_script, finish_script, spans
from extract.planning.config import ExtractSection
from extract.planning.plan import ExtractionPlan, PlannedVolume
from extract.planning.shard import division
from extract.said import store_bytes
from extract.sources.find import places_of_input

FOLDER = "slurm"
"""Of the run folder, with scripts and logs."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What was typed."""

    pipeline: Path
    overrides: tuple[str, ...] = ()
    """Values of `--set`, which every task is given, too."""
    readmit: tuple[str, ...] = ()
    site: Path | None = None
    pack: bool = True


def written(
    found: FoundSite,
    pipeline: Pipeline,
    section: ExtractSection,
    asked: Asked,
    needs: Estimate,
    shares: Sequence[int],
    tasks: int,
    plan: ExtractionPlan,
) -> dict[str, str]:
    """Both scripts by file name, for some of so many shares of a plan."""
    logs, location = pipeline.folder() / FOLDER / "logs", pipeline.store()
    own = () if section.workers is not None else (f"extract.workers={decoders(found, needs)}",)
    values = [word for value in (*own, *asked.overrides) for word in ("--set", value)]
    embed = ("extract", str(asked.pipeline.resolve()), *values, "--shard", f"auto/{tasks}")
    pack = () if asked.pack and "://" not in location else ("--no-pack",)
    array = Task(
        arguments=embed,
        command=own_command(),
        environment=environment(),
        folder=Path.cwd(),
        log=logs / "%A_%a.txt",
        binds=bound(pipeline, section, asked),
    )
    size = store_bytes(section, pipeline.base, plan)
    finish = replace(array, arguments=("cache", "finish", location, *pack), log=logs / "finish_%j.txt")
    return {
        "extract.sh": array_script(found, needs, spans(shares), array),
        "finish.sh": finish_script(found, finish, *finish_needs(plan.embeddable, size or 0)),
    }


def needed(
    found: FoundSite, section: ExtractSection, pipeline: Pipeline, left: Sequence[PlannedVolume]
) -> Estimate:
    """What the tasks need."""
    sizes = section.backbone.located(pipeline.base).outline(section.preprocessing.pixels)
    site = found.site
    return estimate(left, sizes, site.gpu is not None, site.max_tasks, site.tasks, site.cpus)


def decoders(found: FoundSite, needs: Estimate) -> int:
    """Decoding processes of a task: one core feeds the GPU; beside a backbone on the cores they yield."""
    return max(1, needs.cpus - 1) if found.site.gpu is not None else needs.cpus


def uncommitted(location: str, volumes: Sequence[PlannedVolume]) -> tuple[PlannedVolume, ...]:
    """What the store does not have yet; all of it where there is no store."""
    if read_header(location) is None:
        return tuple(volumes)
    there = {entry.key for entry in open_store(location).entries}
    return tuple(volume for volume in volumes if volume.candidate.key not in there)


def shares_left(
    volumes: Sequence[PlannedVolume], left: Sequence[PlannedVolume], tasks: int, busy: frozenset[int]
) -> tuple[int, ...]:
    """Shares with something left to do that nobody has in hand."""
    keys = {volume.candidate.key for volume in left}
    shares = zip(volumes, division([volume.max_slices for volume in volumes], tasks), strict=True)
    return tuple(sorted({index for volume, index in shares if volume.candidate.key in keys} - busy))


def own_command() -> tuple[str, ...]:
    """This very Python, which nodes see on the same disk."""
    return (sys.executable, "-m", "slicecache")


def bound(pipeline: Pipeline, section: ExtractSection, asked: Asked) -> tuple[Path, ...]:
    """Folders that a container must see."""
    places = [asked.pipeline.resolve().parent, pipeline.folder(), Path.cwd()]
    places += places_of_input(section.input, pipeline.base)
    places += [Path(os.environ[name]).absolute() for name in HANDED_ON if name in os.environ]
    if "://" not in pipeline.store():
        places.append(Path(pipeline.store()).parent)
    return tuple(place.parent if place.is_file() else place for place in places)
