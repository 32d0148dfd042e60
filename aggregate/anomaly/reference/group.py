"""The reference group, divided by participant: who is fitted on, who sets thresholds, who is held out.

A participant is in one part. Whoever also has a volume outside the reference group is never fitted on nor
calibrated with: their normal volumes are held out.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Literal

from aggregate.anomaly.reference.candidates import CandidateVolume
from aggregate.anomaly.spec import SharesSpec
from aggregate.cohort.acquisition import content_key
from aggregate.common.table_values import listed
from cache_schema.common.errors import SlicecacheError
from cache_schema.format.identity import VolumeKey
from cache_schema.format.record import VolumeRecord
from cache_schema.store.reader import VolumeEntry

Part = Literal["fit", "calibration", "test", "other"]
STUDY_PARTS: tuple[Part, ...] = ("fit", "calibration", "test", "other")


@dataclass(frozen=True, slots=True)
class StudyVolume:
    """One volume and its part."""

    entry: VolumeEntry
    record: VolumeRecord
    part: Part
    normal: bool | None
    """In the reference group, outside it by its value, or not known."""
    slices: tuple[int, ...] | None = None
    """Of fit and calibration volumes: those of the reference group; None for all."""
    cells: tuple[tuple[str, str], ...] = ()
    """Name and cell of what its page tells of the table's row."""

    @property
    def key(self) -> VolumeKey:
        """Of the volume."""
        return self.entry.key

    @property
    def participant(self) -> str:
        """Whose it is."""
        return self.entry.key.participant_id


def assign_parts(normal: Iterable[str], outside: Iterable[str], shares: SharesSpec) -> dict[str, Part]:
    """Divide the reference group's participants.

    The order is that of a hash of seed and id, so that a participant who joins the cohort later moves few
    of the others.

    Args:
        normal: Participants with a volume in the reference group.
        outside: Participants with a volume that is not known to be in it.
        shares: Of participants.

    Raises:
        SlicecacheError: If there are too few for fit and calibration.
    """
    mixed = set(normal) & set(outside)
    free = sorted(set(normal) - mixed, key=lambda name: sha256(f"{shares.seed} {name}".encode()).digest())
    least = 3 if shares.test else 2
    if len(free) < least:
        also = f" ({len(mixed)} more have volumes outside it too)" if mixed else ""
        raise SlicecacheError(
            f"the reference group has {len(free)} participant(s){also}; detection needs at least {least}: "
            "some to fit on and others to set thresholds by"
        )
    n_test = min(max(1, round(shares.test * len(free))), len(free) - 2) if shares.test else 0
    n_calibration = min(max(1, round(shares.calibration * len(free))), len(free) - n_test - 1)
    ends = (n_test, n_test + n_calibration)
    parts: dict[str, Part] = dict.fromkeys(free[: ends[0]], "test")
    parts |= dict.fromkeys(free[ends[0] : ends[1]], "calibration")
    parts |= dict.fromkeys(free[ends[1] :], "fit")
    return parts | dict.fromkeys(mixed, "test")


def members_of(volumes: Sequence[CandidateVolume], parts: Mapping[str, Part]) -> tuple[StudyVolume, ...]:
    """Every volume with its part.

    Raises:
        SlicecacheError: If a part that is needed is empty, or one volume under two names is on two sides.
    """
    members = tuple(
        StudyVolume(
            volume.entry,
            volume.record,
            parts[volume.key.participant_id] if volume.normal else "other",
            volume.normal,
            cells=volume.cells,
        )
        for volume in volumes
    )
    check_parts(members)
    return members


def check_parts(members: Sequence[StudyVolume]) -> None:
    """Prove that nobody who is fitted on or calibrated with is anywhere else.

    Raises:
        SlicecacheError: Naming the participants.
    """
    sides: dict[str, set[Part]] = {}
    for member in members:
        sides.setdefault(member.participant, set()).add(member.part)
    torn = sorted(name for name, found in sides.items() if len(found) > 1 and found & {"fit", "calibration"})
    if torn:
        raise SlicecacheError(f"a participant is in one part, but {listed(torn)} is in two")
    _refuse_twins(members)
    counts = Counter(member.part for member in members)
    for part in ("fit", "calibration"):
        if not counts[part]:
            raise SlicecacheError(
                f"no volume of the store is in the part {part!r} of the reference group "
                f"({len(members)} volumes take part)"
            )


def _refuse_twins(members: Sequence[StudyVolume]) -> None:
    """Refuse a volume that is fitted on (or calibrated with) and scored under another name."""
    first: dict[str, StudyVolume] = {}
    for member in members:
        for key in (f"file {member.record.source.sha256}", f"content {content_key(member.record)}"):
            other = first.setdefault(key, member)
            if other.part != member.part and {other.part, member.part} & {"fit", "calibration"}:
                raise SlicecacheError(
                    f"the volumes {other.key} ({other.part}) and {member.key} ({member.part}) have the same "
                    "content, so one of them would be fitted on while the other is scored; leave one out by "
                    "where"
                )
