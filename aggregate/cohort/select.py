"""Which volumes of a session take part: `select: {contrast: T1w, run: first}`, `combine: concat | mean`.

A session that still holds several volumes is refused unless `combine` says what to do with them:
silently taking one, or all, would weigh participants by how often they were scanned.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from aggregate.cohort.spec import SelectSpec
from aggregate.common.table_values import listed, natural, value_name
from cache_schema.common.errors import SlicecacheError
from cache_schema.format.record import VolumeRecord

ENTITIES = ("contrast", "space", "acquisition", "description")
"""What distinguishes volumes of a session, besides the run."""


@dataclass(frozen=True, slots=True)
class Volume:
    """One volume's place in its session."""

    index: int
    """Position in the list that bags are made from."""
    participant_id: str
    session_id: str
    record: VolumeRecord

    @property
    def session(self) -> tuple[str, str]:
        """Participant and session."""
        return self.participant_id, self.session_id


def mismatch(spec: SelectSpec, record: VolumeRecord) -> str:
    """Why a volume is not selected; empty when it is."""
    for name in (*ENTITIES, "volume_id", "run"):
        wanted = getattr(spec, name)
        if wanted is None or (name == "run" and wanted in ("first", "last")):
            continue
        found = record.volume_id if name == "volume_id" else getattr(record.entities, name)
        if _plain(found, name) != _plain(wanted, name):
            return f"not selected ({name} {found or 'not given'})"
    return ""


def _plain(value: str, name: str) -> str:
    """A value as it is compared: runs `01`, `1` and `run-01` are one."""
    text = value_name(value)
    if name != "run":
        return text
    digits = text.removeprefix("run-")
    return str(int(digits)) if digits.isdigit() else digits


def choose_runs(spec: SelectSpec, volumes: Sequence[Volume]) -> list[str]:
    """Apply `run: first | last` within each session and kind of volume; a reason for those left out."""
    if spec.run not in ("first", "last"):
        return [""] * len(volumes)
    groups: dict[tuple[str, ...], list[Volume]] = {}
    for volume in volumes:
        kind = tuple(str(getattr(volume.record.entities, name)) for name in ENTITIES)
        groups.setdefault((*volume.session, *kind), []).append(volume)
    chosen = set()
    for group in groups.values():
        ordered = sorted(group, key=lambda v: natural(v.record.entities.run))
        run = ordered[0 if spec.run == "first" else -1].record.entities.run
        # Volumes of one run that differ in something else stay, and are refused as ambiguous later.
        chosen |= {v.index for v in group if v.record.entities.run == run}
    return ["" if v.index in chosen else f"run not {spec.run}" for v in volumes]


def make_bags(
    volumes: Sequence[Volume], combine: Literal["concat", "mean"] | None
) -> list[tuple[Volume, ...]]:
    """Group volumes into bags: one volume each, or all of a session for `concat`.

    Raises:
        SlicecacheError: If a session holds several volumes and nothing says what to do with them.
    """
    sessions: dict[tuple[str, str], list[Volume]] = {}
    for volume in volumes:
        sessions.setdefault(volume.session, []).append(volume)
    several = [group for group in sessions.values() if len(group) > 1]
    if several and combine is None:
        _refuse(several)
    if combine == "concat":
        return [tuple(group) for group in sessions.values()]
    return [(volume,) for group in sessions.values() for volume in group]


def _refuse(several: Sequence[Sequence[Volume]]) -> None:
    group = several[0]
    where = "/".join(part for part in group[0].session if part)
    differing = []
    for name in (*ENTITIES, "run"):
        values = sorted({str(getattr(v.record.entities, name)) for v in group}, key=natural)
        if len(values) > 1:
            differing.append((name, values))
    if not differing:
        differing = [("volume_id", sorted({v.record.volume_id for v in group}, key=natural))]
    name, values = differing[0]
    shown = listed([value or "(none)" for value in values])
    example = "first" if name == "run" else next(value for value in values if value)
    others = f" (and {len(several) - 1} more sessions)" if len(several) > 1 else ""
    raise SlicecacheError(
        f"{where}{others} holds several volumes that differ in {name}: {shown}; say which by "
        f"select: {{{name}: {example}}}, or use them all by combine: concat or mean"
    )
