"""A plan that is kept, so that a thousand tasks need not look at the input tree again, and agree.

`plan.jsonl` in the run folder: a first line that says what was planned, then a line for each volume. Whoever
comes first makes it, in one piece; the others read it. It holds paths of this site, so it is no part of the
store.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from cache_schema.common.errors import ConfigError
from cache_schema.common.machine import machine_said
from cache_schema.common.stored_json import read_object
from cache_schema.common.strict import Strict, refusal
from cache_schema.files.disk.whole import replacing
from cache_schema.files.objects import LocalObjects
from cache_schema.format.header import differing_fields
from cache_schema.format.identity import VolumeKey
from cache_schema.format.limits import SliceCount
from cache_schema.format.record import Entities
from extract.planning.config import ExtractSection
from extract.planning.plan import ExtractionPlan, PlannedVolume
from extract.sources.candidate import Candidate

PLAN = "plan.jsonl"
AGAIN = "`slicecache plan --create` makes it anew"
Triple = tuple[float, float, float]
Key = tuple[str, str, str]


class PlanHead(Strict):
    """The first line of a kept plan."""

    format: Literal["slicecache-plan-1"] = "slicecache-plan-1"
    made: str
    asked: dict[str, Any]
    """What was planned, see `asked_for`."""
    volumes: int = Field(ge=0)
    notes: tuple[str, ...]
    withdrawn: tuple[Key, ...]


class PlanLine(Strict):
    """One volume of a kept plan."""

    key: Key
    path: Path
    source: str
    entities: Entities
    foreground_path: Path | None
    orientation: str | None
    dataset: str
    stated_spacing_mm: Triple | None
    given: str
    shape: tuple[int, int, int] | None
    spacing_mm: Triple | None
    max_slices: SliceCount
    refusal: str | None

    @classmethod
    def of(cls, volume: PlannedVolume) -> "PlanLine":
        """What is kept of a volume."""
        candidate = volume.candidate
        names = ("path", "source", "entities", "foreground_path", "orientation", "dataset", "given")
        return cls(
            key=(candidate.key.participant_id, candidate.key.session_id, candidate.key.volume_id),
            **{name: getattr(candidate, name) for name in names},
            stated_spacing_mm=candidate.spacing_mm,
            shape=volume.shape,
            spacing_mm=volume.spacing_mm,
            max_slices=volume.max_slices,
            refusal=volume.refusal,
        )

    def volume(self) -> PlannedVolume:
        """The volume as it was planned, without its warnings."""
        candidate = Candidate(
            VolumeKey(*self.key),
            self.path,
            self.source,
            self.entities,
            self.foreground_path,
            self.orientation,
            self.dataset,
            self.stated_spacing_mm,
            self.given,
        )
        return PlannedVolume(candidate, self.shape, self.spacing_mm, self.max_slices, self.refusal)


def plan_place(run_folder: Path) -> Path:
    """Where a run folder keeps its plan."""
    return run_folder / "extract" / PLAN


def asked_for(section: ExtractSection, base: Path) -> dict[str, Any]:
    """What of a section shapes its plan."""
    preprocessing = section.preprocessing
    return {
        **section.model_dump(mode="json", include={"input"}),
        "base": str(base),
        "orient": preprocessing.orient.model_dump(mode="json"),
        "slices": preprocessing.slices.model_dump(mode="json"),
        "allow_unknown_orientation": preprocessing.allow_unknown_orientation,
    }


def keep_plan(place: Path, plan: ExtractionPlan, section: ExtractSection, base: Path, *, first: bool) -> None:
    """Keep a plan.

    Args:
        place: `plan_place` of the run folder.
        plan: What was found.
        section: What was asked for.
        base: Folder that relative paths start from.
        first: Keep it only if none is kept, as one of many that plan at the same time.

    Raises:
        MachineError: If it cannot be written.
    """
    data = b"".join(
        line.model_dump_json().encode() + b"\n" for line in _lines(plan, asked_for(section, base))
    )
    with machine_said("write", place):
        place.parent.mkdir(parents=True, exist_ok=True)
        if first:
            LocalObjects(place.parent).create(place.name, data)
            return
        with replacing(place) as beside:
            beside.write_bytes(data)


def kept_plan(place: Path, section: ExtractSection, base: Path) -> ExtractionPlan | None:
    """The plan that is kept, or None.

    Raises:
        ConfigError: If it was made for something else, or cannot be read.
    """
    with machine_said("read", place):
        if not place.exists():
            return None
        data = place.read_bytes()
    try:
        first, *lines = data.splitlines()
        head = PlanHead.model_validate(read_object(first))
        volumes = tuple(PlanLine.model_validate_json(line).volume() for line in lines)
    except ValidationError as error:
        raise ConfigError(f"{refusal(error, repr(str(place)))}; {AGAIN}") from error
    except ValueError as error:
        raise ConfigError(f"{str(place)!r} cannot be read as a plan ({error}); {AGAIN}") from error
    if len(volumes) != head.volumes:
        raise ConfigError(f"{str(place)!r} has {len(volumes)} volumes, not {head.volumes}; {AGAIN}")
    differing = differing_fields(asked_for(section, base), head.asked)
    if differing:
        raise ConfigError(f"{str(place)!r} was made for something else: {'; '.join(differing)}; {AGAIN}")
    return ExtractionPlan(volumes, head.notes, tuple(VolumeKey(*key) for key in head.withdrawn))


def _lines(plan: ExtractionPlan, asked: dict[str, Any]) -> Iterator[Strict]:
    """The plan, line by line."""
    yield PlanHead(
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        asked=asked,
        volumes=len(plan.volumes),
        notes=plan.notes,
        withdrawn=tuple((key.participant_id, key.session_id, key.volume_id) for key in plan.withdrawn),
    )
    yield from map(PlanLine.of, plan.volumes)
