"""Everything that is looked at, in the order in which it is shown.

What reads a pipeline's section is imported when there is one: it needs an extra, which may be absent.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cache_schema.common.errors import ConfigError
from cache_schema.common.pipeline_file import Pipeline
from cache_schema.common.text.counts import counted
from cache_schema.files.disk.probe import probe
from extract.doctor.arithmetic import accelerator_facts, judge_gpus, judge_torch, torch_facts
from extract.doctor.cores import judge_cores, judge_files, judge_memory, machine_facts
from extract.doctor.finding import Finding, looked_at
from extract.doctor.places import disk_facts, judge_disk, judge_semantics
from extract.doctor.python import judge_python, python_facts
from extract.doctor.scheduler import judge_scheduler, scheduler_facts

if TYPE_CHECKING:
    from extract.planning.config import ExtractSection

INSTALL = "pip install 'slicecache[extract]'"
Look = Callable[[], Sequence[Finding]]
NEEDS = ("extract", "aggregate")
"""Sections that cannot do without the extra of their name."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a pipeline says, as far as it can be understood."""

    pipeline: Pipeline
    section: ExtractSection | None
    """None where there is none, or it is wrong."""


def examine(pipeline: Pipeline | None, ask_network: bool = False) -> list[Finding]:
    """Look at everything; nothing here raises, and nothing calls out unless `ask_network` says so."""
    findings, asked = understood(pipeline)
    for topic, look in looks(asked, ask_network):
        findings += looked_at(topic, look)
    return findings


def understood(pipeline: Pipeline | None) -> tuple[list[Finding], Asked | None]:
    """Read the pipeline's `extract` section; a mistake in it is a finding, and the rest is looked at."""
    if pipeline is None:
        advice = "slicecache doctor PIPELINE looks at its input, weights and places, too"
        return [Finding("pipeline", "note", "none given", advice)], None
    if "extract" not in pipeline.data:
        return [Finding("pipeline", "ok", "it has no section 'extract'")], Asked(pipeline, None)
    try:
        from extract.planning.config import ExtractSection

        section = pipeline.section("extract", ExtractSection)
    except ConfigError as error:
        wrong = Finding("pipeline", "problem", str(error), "correct it; `slicecache plan` says the same")
        return [wrong], Asked(pipeline, None)
    except ModuleNotFoundError as error:
        found = f"its section 'extract' cannot be read without {error.name}"
        return [Finding("pipeline", "problem", found, INSTALL)], Asked(pipeline, None)
    return looked_at("input", lambda: [look_at_input(section, pipeline.base)]), Asked(pipeline, section)


def looks(asked: Asked | None, ask_network: bool) -> Iterator[tuple[str, Look]]:
    """Topic -> what looks at it."""
    needed = [name for name in NEEDS if asked is not None and name in asked.pipeline.data]
    wanted = "auto" if asked is None or asked.section is None else asked.section.device
    yield "python", lambda: judge_python(python_facts(), needed)
    yield "torch", lambda: _arithmetic(bool(needed), wanted)
    yield "cores", _machine
    yield from _disks(asked)
    if asked is not None and asked.section is not None:
        from extract.doctor.weights import look_at_weights
        from extract.planning.config import asked_stores

        section, pipeline = asked.section, asked.pipeline
        yield (
            "weights",
            lambda: [
                finding
                for each in asked_stores(pipeline, section)
                for finding in look_at_weights(each.section, each.location, pipeline.base, ask_network)
            ],
        )
    yield "scheduler", lambda: [judge_scheduler(scheduler_facts())]


def _arithmetic(needed: bool, wanted: str) -> list[Finding]:
    facts = torch_facts()
    return [judge_torch(facts, needed), *judge_gpus(facts, accelerator_facts(), wanted)]


def _machine() -> list[Finding]:
    facts = machine_facts()
    return [judge_cores(facts), judge_memory(facts), judge_files(facts)]


def _disks(asked: Asked | None) -> Iterator[tuple[str, Look]]:
    """Where a pipeline writes, or else the current folder; the store's file system is tried."""
    places = {"folder": Path.cwd(), "tmp": Path(tempfile.gettempdir())}
    target: Path | None = Path.cwd()
    if asked is not None:
        # A section that is absent or wrong is a finding of its own topic.
        found = {name: _place(asked.pipeline, name) for name in ("store", "run folder")}
        yield from ((name, _saying(place)) for name, place in found.items() if isinstance(place, Finding))
        there = {name: place for name, place in found.items() if isinstance(place, Path)}
        if _is_only_read(asked.pipeline, there.get("store")):
            there.pop("store")
        places = {**there, "tmp": places["tmp"]}
        target = there["store"].parent if "store" in there else None
    for name, place in places.items():
        yield name, lambda name=name, place=place: [judge_disk(name, disk_facts(place))]  # type: ignore[misc]
    if target is not None:
        yield "file system", lambda: judge_semantics(probe(target))


def _is_only_read(pipeline: Pipeline, store: Path | None) -> bool:
    """Whether a store is one file that somebody else made: nothing here writes to it."""
    return store is not None and store.is_file() and "extract" not in pipeline.data


def _place(pipeline: Pipeline, name: str) -> Path | Finding:
    """A folder that a pipeline names, or what is wrong with it."""
    try:
        place = pipeline.store() if name == "store" else str(pipeline.folder())
    except ConfigError as error:
        return Finding(name, "problem", str(error), "correct the pipeline")
    if "://" in place:
        advice = "its server is not asked here; `slicecache plan` does"
        return Finding(name, "note", f"{place} is behind a URL", advice)
    return Path(place)


def _saying(finding: Finding) -> Look:
    return lambda: [finding]


def look_at_input(section: ExtractSection, base: Path) -> Finding:
    """Whether the images' folder or table is there; nothing of it is read."""
    from extract.sources.bids import BidsInput
    from extract.sources.files import FilesInput
    from extract.sources.find import places_of_input

    if isinstance(section.input, FilesInput):
        return Finding("input", "ok", counted(len(section.input.files), "file"))
    bids = isinstance(section.input, BidsInput)
    (place,) = places_of_input(section.input, base)
    if not (place.is_dir() if bids else place.is_file()):
        what = "folder" if bids else "table"
        return Finding(
            "input", "problem", f"there is no {what} {str(place)!r}", "is it mounted on this node?"
        )
    if not os.access(place, os.R_OK | (os.X_OK if bids else 0)):
        return Finding("input", "problem", f"{str(place)!r} cannot be read", "ask its owner for permission")
    return Finding("input", "ok", str(place))
