"""A plan that is kept, so that a thousand tasks need not look at the input tree again, and agree.

`plan.jsonl` in the run folder: a first line that says what was planned, then a line for each volume. Whoever
comes first makes it, in one piece; the others read it. It holds paths of this site, so it is no part of the
store.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from cache_schema.common.errors import ConfigError
from cache_schema.common.machine import machine_said
from cache_schema.common.stored_json import read_object
from cache_schema.common.strict import Strict, later, refusal
from cache_schema.files.disk.whole import replacing
from cache_schema.files.objects import LocalObjects
from cache_schema.format.header import differing_fields
from cache_schema.format.identity import VolumeKey
from cache_schema.format.limits import SliceCount
from cache_schema.format.record import Entities
from extract.planning.config import ExtractSection
from extract.planning.plan import ExtractionPlan, PlannedVolume
from extract.planning.shard import Shard, places_of
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
    slices: tuple[SliceCount | None, ...]
    """Of every volume the most that it keeps, None where it was refused: by these the work is shared out, and
    a task reads no line but its own."""
    notes: tuple[str, ...]
    withdrawn: tuple[Key, ...]
    longest: tuple[SliceCount, ...] = later(())
    """Most slices of a volume in each further store of the run."""


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
    others: tuple[SliceCount, ...] = later(())
    """As of `PlannedVolume`."""

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
            others=volume.others,
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
        return PlannedVolume(
            candidate, self.shape, self.spacing_mm, self.max_slices, self.refusal, others=self.others
        )


def plan_place(run_folder: Path) -> Path:
    """Where a run folder keeps its plan."""
    return run_folder / "extract" / PLAN


def asked_for(sections: Sequence[ExtractSection], base: Path) -> dict[str, Any]:
    """What of the stores' sections shapes their plan."""
    section, *others = sections
    more = {"others": [_slicing(each) for each in others]} if others else {}
    return {
        **section.model_dump(mode="json", include={"input"}),
        "base": str(base),
        **_slicing(section),
        "allow_unknown_orientation": section.allow_unknown_orientation,
        **more,
    }


def _slicing(section: ExtractSection) -> dict[str, Any]:
    """What decides how many slices a volume has."""
    steps = section.preprocessing
    return {
        **({} if steps.plane == "axial" else {"plane": steps.plane}),
        "orient": steps.orient.model_dump(mode="json"),
        "slices": steps.slices.model_dump(mode="json"),
    }


def keep_plan(
    place: Path, plan: ExtractionPlan, sections: Sequence[ExtractSection], base: Path, *, first: bool
) -> None:
    """Keep a plan.

    Args:
        place: `plan_place` of the run folder.
        plan: What was found.
        sections: What was asked for, of each store of the run.
        base: Folder that relative paths start from.
        first: Keep it only if none is kept, as one of many that plan at the same time.

    Raises:
        MachineError: If it cannot be written.
    """
    data = b"".join(
        line.model_dump_json().encode() + b"\n" for line in _lines(plan, asked_for(sections, base))
    )
    with machine_said("write", place):
        place.parent.mkdir(parents=True, exist_ok=True)
        if first:
            LocalObjects(place.parent).create(place.name, data)
            return
        with replacing(place) as beside:
            beside.write_bytes(data)


class KeptPlan:
    """A plan that is kept; volumes are read when they are asked for."""

    def __init__(self, place: Path, head: PlanHead, lines: list[bytes]) -> None:
        """Hold it; `kept_plan` reads it."""
        self._place, self._head, self._lines = place, head, lines

    @property
    def longest(self) -> tuple[int, ...]:
        """Most slices that a volume keeps at most, in each store of the run; 0 of none."""
        return max(
            (count for count in self._head.slices if count is not None), default=0
        ), *self._head.longest

    def whole(self) -> ExtractionPlan:
        """All of it.

        Raises:
            ConfigError: If a line cannot be read.
        """
        volumes = tuple(map(self._volume, range(len(self._lines))))
        withdrawn = tuple(VolumeKey(*key) for key in self._head.withdrawn)
        return ExtractionPlan(volumes, self._head.notes, withdrawn)

    def share(self, shard: Shard) -> ExtractionPlan:
        """What one process does of it; notes are said by the first.

        Raises:
            ConfigError: If a line cannot be read.
        """
        volumes = tuple(map(self._volume, places_of(self._head.slices, shard)))
        if shard.index:
            return ExtractionPlan(volumes)
        return ExtractionPlan(
            volumes, self._head.notes, tuple(VolumeKey(*key) for key in self._head.withdrawn)
        )

    def _volume(self, number: int) -> PlannedVolume:
        """The volume of a line."""
        with _readable(self._place):
            line = PlanLine.model_validate_json(self._lines[number])
            if self._head.slices[number] != (line.max_slices if line.refusal is None else None):
                raise ValueError(f"line {number + 2} and the first disagree")
            if line.refusal is None and len(line.others) != len(self._head.longest):
                raise ValueError(f"line {number + 2} is of {1 + len(line.others)} stores")
            return line.volume()


def kept_plan(place: Path, sections: Sequence[ExtractSection], base: Path) -> KeptPlan | None:
    """The plan that is kept, or None.

    Raises:
        ConfigError: If it was made for something else, or cannot be read.
    """
    with machine_said("read", place):
        if not place.exists():
            return None
        data = place.read_bytes()
    with _readable(place):
        first, *lines = data.splitlines()
        head = PlanHead.model_validate(read_object(first))
        if len(lines) != len(head.slices):
            raise ValueError(f"it has {len(lines)} volumes, not {len(head.slices)}")
        if len(head.longest) != len(head.asked.get("others", ())):
            raise ValueError(f"it is of {1 + len(head.longest)} stores")
    differing = differing_fields(asked_for(sections, base), head.asked)
    if differing:
        raise ConfigError(f"{str(place)!r} was made for something else: {'; '.join(differing)}; {AGAIN}")
    return KeptPlan(place, head, lines)


@contextmanager
def _readable(place: Path) -> Iterator[None]:
    """Say in one sentence what cannot be read in a kept plan.

    Raises:
        ConfigError: If something cannot.
    """
    try:
        yield
    except ValidationError as error:
        raise ConfigError(f"{refusal(error, repr(str(place)))}; {AGAIN}") from None
    except ValueError as error:
        raise ConfigError(f"{str(place)!r} cannot be read as a plan ({error}); {AGAIN}") from error


def _lines(plan: ExtractionPlan, asked: dict[str, Any]) -> Iterator[Strict]:
    """The plan, line by line."""
    yield PlanHead(
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        asked=asked,
        slices=tuple(v.max_slices if v.refusal is None else None for v in plan.volumes),
        notes=plan.notes,
        withdrawn=tuple((key.participant_id, key.session_id, key.volume_id) for key in plan.withdrawn),
        longest=tuple(
            max((volume.others[place] for volume in plan.embeddable), default=0)
            for place in range(len(asked.get("others", ())))
        ),
    )
    yield from map(PlanLine.of, plan.volumes)
