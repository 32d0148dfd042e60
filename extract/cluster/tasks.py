"""What the tasks of an array are: what is left, in how many shares, and the words that each is given."""

import os
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cache_schema.cluster.host import HANDED_ON, environment
from cache_schema.cluster.site import FoundSite
from cache_schema.common.pipeline_file import Pipeline
from cache_schema.format.identity import VolumeKey
from cache_schema.store.create import read_header
from cache_schema.store.reader import open_store
from extract.cluster.estimate import Estimate, Load, estimate, finish_needs
from extract.cluster.script import Task, array_script, finish_script, spans
from extract.planning.config import AskedStore, ExtractSection
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


@dataclass(frozen=True, slots=True)
class Uncommitted:
    """One store of the run, and how far it is."""

    store: AskedStore
    plan: ExtractionPlan
    """Its own."""
    volumes: tuple[PlannedVolume, ...]
    """That it does not have yet."""


def left_in(stores: Sequence[AskedStore], plans: Sequence[ExtractionPlan]) -> tuple[Uncommitted, ...]:
    """How far every store is."""
    return tuple(
        Uncommitted(store, plan, uncommitted(store.location, plan.embeddable))
        for store, plan in zip(stores, plans, strict=True)
    )


def keys_of(stores: Sequence[Uncommitted]) -> frozenset[VolumeKey]:
    """Volumes that some store does not have yet."""
    return frozenset(volume.candidate.key for each in stores for volume in each.volumes)


def written(
    found: FoundSite,
    pipeline: Pipeline,
    section: ExtractSection,
    asked: Asked,
    needs: Estimate,
    shares: Sequence[int],
    tasks: int,
    stores: Sequence[Uncommitted],
) -> dict[str, str]:
    """Both scripts by file name, for some of so many shares of a plan."""
    logs, locations = pipeline.folder() / FOLDER / "logs", [each.store.location for each in stores]
    own = () if section.workers is not None else (f"extract.workers={decoders(found, needs)}",)
    values = [word for value in (*own, *asked.overrides) for word in ("--set", value)]
    embed = ("extract", str(asked.pipeline.resolve()), *values, "--shard", f"auto/{tasks}")
    array = Task(
        arguments=embed,
        command=own_command(),
        environment=environment(),
        folder=Path.cwd(),
        log=logs / "%A_%a.txt",
        binds=bound(pipeline, section, asked, locations),
    )
    finish = [
        replace(array, arguments=finish_words(location, asked.pack), log=logs / "finish_%j.txt")
        for location in locations
    ]
    sizes = [
        (len(each.plan.embeddable), store_bytes(each.store.section, pipeline.base, each.plan) or 0)
        for each in stores
    ]
    return {
        "extract.sh": array_script(found, needs, spans(shares), array),
        "finish.sh": finish_script(found, finish, *finish_needs(sizes)),
    }


def finish_words(location: str, pack: bool) -> tuple[str, ...]:
    """What the last task does with a store."""
    return ("cache", "finish", location, *(() if pack and "://" not in location else ("--no-pack",)))


def needed(found: FoundSite, base: Path, stores: Sequence[Uncommitted]) -> Estimate:
    """What the tasks need."""
    loads = []
    for each in stores:
        section = each.store.section
        sizes = section.backbone.located(base).outline(section.preprocessing.pixels)
        loads.append(Load(each.volumes, sizes))
    site = found.site
    return estimate(loads, site.gpu is not None, site.max_tasks, site.tasks, site.cpus)


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
    volumes: Sequence[PlannedVolume], keys: Collection[VolumeKey], tasks: int, busy: frozenset[int]
) -> tuple[int, ...]:
    """Shares with something left to do that nobody has in hand.

    Args:
        volumes: Of the plan of all stores.
        keys: Of those that are left.
        tasks: Into how many shares the plan is divided.
        busy: Shares that wait or run.
    """
    shares = zip(volumes, division([volume.max_slices for volume in volumes], tasks), strict=True)
    return tuple(sorted({index for volume, index in shares if volume.candidate.key in keys} - busy))


def own_command() -> tuple[str, ...]:
    """This very Python, which nodes see on the same disk."""
    return (sys.executable, "-m", "slicecache")


def bound(
    pipeline: Pipeline, section: ExtractSection, asked: Asked, locations: Sequence[str]
) -> tuple[Path, ...]:
    """Folders that a container must see."""
    places = [asked.pipeline.resolve().parent, pipeline.folder(), Path.cwd()]
    places += places_of_input(section.input, pipeline.base)
    places += [Path(os.environ[name]).absolute() for name in HANDED_ON if name in os.environ]
    places += [Path(location).parent for location in locations if "://" not in location]
    return tuple(place.parent if place.is_file() else place for place in places)
