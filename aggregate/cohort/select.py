"""Which volumes of a session take part: `select: {contrast: [T1w, FLAIR]}`, `combine: concat | mean`.

A session that still holds several volumes is refused unless `combine` says what to do with them:
silently taking one, or all, would weigh participants by how often they were scanned.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator

from aggregate.common.labels import Label, read_many
from aggregate.common.table_values import listed, natural, value_name
from cache_schema.common.errors import SlicecacheError
from cache_schema.common.short_forms import ONE, reads
from cache_schema.common.strict import Strict
from cache_schema.format.record import VolumeRecord

ENTITIES = ("contrast", "space", "acquisition", "description")
"""What distinguishes volumes of a session, besides the run."""


@reads(ONE)
def _some(value: Any) -> Any:
    """Read a single value as a list of one."""
    return value if value is None else read_many(value)


Some = Annotated[Annotated[tuple[Label, ...], Field(min_length=1)] | None, BeforeValidator(_some)]
"""Values that are let through; None for all."""
EXTREMES = (("first",), ("last",))


class SelectSpec(Strict):
    """Which volumes of a session are used; a key takes one value or a list."""

    contrast: Some = None
    """Kind of image, as its BIDS suffix or the manifest says it, e.g. `T1w`."""
    acquisition: Some = None
    """Value of `acq-`, e.g. `mprage`."""
    space: Some = None
    """Value of `space-`, e.g. `MNI152NLin2009cAsym`."""
    description: Some = None
    """Value of `desc-`, e.g. `preproc`."""
    volume_id: Some = None
    """What tells volumes of a session apart, e.g. `acq-mprage_T1w`."""
    run: Some = None
    """Numbers of runs, or `first` or `last` of those in the session, e.g. `first`."""

    @field_validator("run")
    @classmethod
    def _one_extreme(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if value is not None and value not in EXTREMES and {"first", "last"} & set(value):
            raise ValueError("run is either first, or last, or a list of numbers")
        return value


def mismatch(spec: SelectSpec, record: VolumeRecord) -> str:
    """Why a volume is not selected; empty when it is."""
    for name in (*ENTITIES, "volume_id", "run"):
        wanted = getattr(spec, name)
        if wanted is None or (name == "run" and wanted in EXTREMES):
            continue
        found = record.volume_id if name == "volume_id" else getattr(record.entities, name)
        if _plain(found, name) not in {_plain(value, name) for value in wanted}:
            return f"not selected ({name} {found or 'not given'})"
    return ""


def _plain(value: str, name: str) -> str:
    """A value as it is compared: runs `01`, `1` and `run-01` are one."""
    text = value_name(value)
    if name != "run":
        return text
    digits = text.removeprefix("run-")
    return str(int(digits)) if digits.isdigit() else digits


def _session(record: VolumeRecord) -> tuple[str, str]:
    """Participant and session."""
    return record.participant_id, record.session_id


def choose_runs(spec: SelectSpec, records: Sequence[VolumeRecord]) -> list[str]:
    """Apply `run: first | last` within each session and kind of volume; a reason for those left out."""
    if spec.run not in EXTREMES:
        return [""] * len(records)
    groups: dict[tuple[str, ...], list[int]] = {}
    for index, record in enumerate(records):
        kind = tuple(str(getattr(record.entities, name)) for name in ENTITIES)
        groups.setdefault((*_session(record), *kind), []).append(index)
    chosen: set[int] = set()
    for group in groups.values():
        runs = sorted((records[index].entities.run for index in group), key=natural)
        run = runs[0 if spec.run == EXTREMES[0] else -1]
        # Volumes of one run that differ in something else stay, and are refused as ambiguous later.
        chosen |= {index for index in group if records[index].entities.run == run}
    return ["" if index in chosen else f"run not {spec.run[0]}" for index in range(len(records))]


def make_bags(
    records: Sequence[VolumeRecord], combine: Literal["concat", "mean"] | None
) -> list[tuple[int, ...]]:
    """Group volumes into bags: one volume each, or all of a session for `concat`, in order of volume_id.

    Returns:
        The indices of every bag's records.

    Raises:
        SlicecacheError: If a session holds several volumes and nothing says what to do with them.
    """
    sessions: dict[tuple[str, str], list[int]] = {}
    for index, record in enumerate(records):
        sessions.setdefault(_session(record), []).append(index)
    several = [group for group in sessions.values() if len(group) > 1]
    if several and combine is None:
        _refuse([[records[index] for index in group] for group in several])
    if combine == "concat":
        return [
            tuple(sorted(group, key=lambda index: natural(records[index].volume_id)))
            for group in sessions.values()
        ]
    return [(index,) for group in sessions.values() for index in group]


def _refuse(several: Sequence[Sequence[VolumeRecord]]) -> None:
    group = several[0]
    where = "/".join(part for part in _session(group[0]) if part)
    differing = []
    for name in (*ENTITIES, "run"):
        values = sorted({str(getattr(v.entities, name)) for v in group}, key=natural)
        if len(values) > 1:
            differing.append((name, values))
    if not differing:
        differing = [("volume_id", sorted({v.volume_id for v in group}, key=natural))]
    name, values = differing[0]
    shown = listed([value or "(none)" for value in values])
    example = "first" if name == "run" else next(value for value in values if value)
    others = f" (and {len(several) - 1} more sessions)" if len(several) > 1 else ""
    raise SlicecacheError(
        f"{where}{others} holds several volumes that differ in {name}: {shown}; say which by "
        f"select: {{{name}: {example}}}, or use them all by combine: concat or mean"
    )
