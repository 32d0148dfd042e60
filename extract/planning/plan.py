"""What an extraction would do, from file headers alone."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

from cache_schema.common.errors import ConfigError, VolumeError
from cache_schema.common.machine import refuse_everywhere
from cache_schema.common.terminal.progress import bar
from cache_schema.format.header import ArraySpec
from cache_schema.format.identity import VolumeKey, twins
from cache_schema.format.record import TableRow
from extract.planning.foreseen import most_slices, said_of_canvas
from extract.slices.preprocessing import Preprocessing
from extract.sources.candidate import Candidate
from extract.sources.find import VolumeInput, find_volumes
from extract.volume.hdf5 import open_volume
from extract.volume.headers import quiet, read_facts
from extract.volume.inputs import is_there, refuse_odd_file

HEADER_THREADS = 8
"""Headers are read in parallel because network file systems answer late, not because it is work."""

AT_ONCE = 1000
SHARED_SHOWN = 5
SHOWN_WITHDRAWN = 5
"""Names in a sentence; `--json` has all."""

BYTES = {"float16": 2, "float32": 4}


@dataclass(frozen=True, slots=True)
class PlannedVolume:
    """One volume, and whether it can be embedded."""

    candidate: Candidate
    shape: tuple[int, int, int] | None
    """Native shape; None when not even the header could be used."""
    spacing_mm: tuple[float, float, float] | None
    max_slices: int
    """Upper bound of kept slices; 0 for a refused volume."""
    refusal: str | None
    """Why it cannot be embedded, in one sentence."""
    warnings: tuple[str, ...] = ()
    file: tuple[int, int] | None = None
    """Device and inode, by which two names of one file are told."""
    others: tuple[int, ...] = ()
    """Upper bounds of kept slices in the further stores of the run, in their order."""


@dataclass(frozen=True, slots=True)
class ExtractionPlan:
    """Every volume of the input, sorted by key."""

    volumes: tuple[PlannedVolume, ...]
    notes: tuple[str, ...] = ()
    """What the input says beside its volumes, e.g. rows without a file."""
    withdrawn: tuple[VolumeKey, ...] = ()
    """Volumes of participants who were withdrawn from the store, which are not even looked at."""

    @property
    def embeddable(self) -> tuple[PlannedVolume, ...]:
        """Volumes whose headers say nothing against them."""
        return tuple(volume for volume in self.volumes if volume.refusal is None)

    @property
    def refused(self) -> tuple[PlannedVolume, ...]:
        """Volumes that cannot be embedded."""
        return tuple(volume for volume in self.volumes if volume.refusal is not None)

    @property
    def slices(self) -> int:
        """Upper bound of slices over all embeddable volumes."""
        return sum(volume.max_slices for volume in self.embeddable)

    @property
    def longest(self) -> int:
        """Most slices that a volume keeps at most; 0 of none."""
        return max((volume.max_slices for volume in self.embeddable), default=0)

    def of_store(self, place: int) -> "ExtractionPlan":
        """What the plan is for one of the run's stores, in their order from 0."""
        if not place:
            return self
        volumes = (
            volume if volume.refusal else replace(volume, max_slices=volume.others[place - 1])
            for volume in self.volumes
        )
        return replace(self, volumes=tuple(volumes))

    def bytes(self, arrays: Sequence[ArraySpec]) -> int:
        """Upper bound of the store's uncompressed size."""
        return self.slices * sum(prod(array.item_shape) * BYTES[array.dtype] for array in arrays)

    def rows(self) -> list[TableRow]:
        """Table rows of the embeddable volumes, in order."""
        return [
            TableRow(
                participant_id=volume.candidate.key.participant_id,
                session_id=volume.candidate.key.session_id,
                volume_id=volume.candidate.key.volume_id,
                path=volume.candidate.source,
                max_slices=volume.max_slices,
            )
            for volume in self.embeddable
        ]


def plan_extraction(
    spec: VolumeInput,
    base: Path,
    preprocessing: Preprocessing,
    is_withdrawn: Callable[[str], bool] = lambda participant: False,
    others: Sequence[Preprocessing] = (),
) -> ExtractionPlan:
    """Find every volume and look at its header.

    Args:
        spec: The input.
        base: Folder that relative paths start from.
        preprocessing: Says who is let in, and how many slices are kept at most.
        is_withdrawn: Whether a participant was withdrawn from the store.
        others: Of the further stores that are made in one go; they let in whom the first lets in.

    Raises:
        ConfigError: If the input cannot be understood, or two volumes have one key.
    """
    candidates, notes = find_volumes(spec, base)
    refuse_same_keys(candidates)
    refuse_twins(candidates)
    keys = [candidate.key for candidate in candidates]
    withdrawn = tuple(key for key in keys if is_withdrawn(key.participant_id))
    candidates = [candidate for candidate in candidates if not is_withdrawn(candidate.key.participant_id)]
    look = partial(plan_volume, preprocessing=preprocessing, others=others)
    volumes: list[PlannedVolume] = []
    with quiet(), ThreadPoolExecutor(HEADER_THREADS) as pool, bar("reading headers") as progress:
        # In parts, or every waiting volume would hold a future of its own.
        for start in range(0, len(candidates), AT_ONCE):
            volumes += pool.map(look, candidates[start : start + AT_ONCE])
            progress(len(volumes), len(candidates))
    return ExtractionPlan(tuple(volumes), (*notes, *shared_files(volumes)), withdrawn)


def said_of_withdrawn(keys: Sequence[VolumeKey]) -> str:
    """Who is left out, in one sentence."""
    people = sorted({key.participant_id for key in keys})
    shown = ", ".join(people[:SHOWN_WITHDRAWN]) + ", ..." * (len(people) > SHOWN_WITHDRAWN)
    volumes = "1 volume" if len(keys) == 1 else f"{len(keys)} volumes"
    participants = "1 withdrawn participant" if len(people) == 1 else f"{len(people)} withdrawn participants"
    return (
        f"{volumes} of {participants} ({shown}) {'is' if len(keys) == 1 else 'are'} left out; "
        "`slicecache extract --readmit NAME` takes them back"
    )


def withdrawn_json(keys: Sequence[VolumeKey]) -> dict[str, Any]:
    """Who is left out, as JSON data."""
    return {"volumes": len(keys), "participants": sorted({key.participant_id for key in keys})}


def refuse_same_keys(candidates: Sequence[Candidate]) -> None:
    """Two files under one key would overwrite each other.

    Raises:
        ConfigError: Naming the key and both files.
    """
    seen: dict[object, Candidate] = {}
    for candidate in candidates:
        other = seen.setdefault(candidate.key, candidate)
        if other is not candidate:
            raise ConfigError(
                f"two volumes have the key {candidate.key}: {str(other.path)!r} and {str(candidate.path)!r}; "
                "tell them apart, in a manifest by a session_id or volume_id column"
            )


def refuse_twins(candidates: Sequence[Candidate]) -> None:
    """Ids that a person reads as one would be two participants, or one participant's two sessions.

    Raises:
        ConfigError: Naming the ids as they are written.
    """
    sessions: dict[str, set[str]] = {}
    volumes: dict[tuple[str, str], set[str]] = {}
    for key in (candidate.key for candidate in candidates):
        sessions.setdefault(key.participant_id, set()).add(key.session_id)
        volumes.setdefault((key.participant_id, key.session_id), set()).add(key.volume_id)
    levels = [("participants", "", twins(sessions))]
    levels += [("sessions", f" of {who}", twins(ids)) for who, ids in sessions.items() if len(ids) > 1]
    levels += [
        ("volumes", f" of {VolumeKey(*who, '')}", twins(ids)) for who, ids in volumes.items() if len(ids) > 1
    ]
    for what, whose, found in levels:
        if found:
            named = " and ".join(ascii(name) for name in found[0])
            more = f" ({len(found)} such groups)" if len(found) > 1 else ""
            raise ConfigError(
                f"the {what} {named}{whose} differ only in case, width or invisible characters{more}: "
                "write each id in one way"
            )


def shared_files(volumes: Sequence[PlannedVolume]) -> list[str]:
    """Participants that have one file, be it by a link."""
    first: dict[tuple[int, int, str], PlannedVolume] = {}
    others: dict[tuple[int, int, str], dict[str, PlannedVolume]] = {}
    for volume in volumes:
        if volume.file is not None:
            place = (*volume.file, volume.candidate.dataset)
            owner = first.setdefault(place, volume)
            if owner.candidate.key.participant_id != volume.candidate.key.participant_id:
                others.setdefault(place, {}).setdefault(volume.candidate.key.participant_id, volume)
    shared = [[first[place], *each.values()] for place, each in others.items()]
    notes = [
        f"one file under {len(each)} participants, {each[0].candidate.key} and {each[1].candidate.key}: "
        f"{each[0].candidate.shown!r}"
        for each in shared[:SHARED_SHOWN]
    ]
    if len(shared) > SHARED_SHOWN:
        notes.append(f"and {len(shared) - SHARED_SHOWN} more files under several participants")
    return notes


def plan_volume(
    candidate: Candidate, preprocessing: Preprocessing, others: Sequence[Preprocessing] = ()
) -> PlannedVolume:
    """Look at one header; a volume that cannot be used is an answer, not an error."""
    try:
        if candidate.refusal:
            raise VolumeError(candidate.refusal)
        if candidate.foreground_path is not None:
            if not is_there(candidate.foreground_path):
                raise VolumeError(f"there is no foreground mask {str(candidate.foreground_path)!r}")
            refuse_odd_file(candidate.foreground_path)
        facts = read_facts(open_volume(candidate), candidate, preprocessing.allow_unknown_orientation)
    except VolumeError as error:
        refuse_everywhere(error, candidate.path)
        return PlannedVolume(candidate, None, None, 0, str(error))
    every = (preprocessing, *others)
    bound, *more = (most_slices(facts, steps) for steps in every)
    unfit = dict.fromkeys(said for steps in every for said in said_of_canvas(facts, steps))
    return PlannedVolume(
        candidate,
        facts.shape,
        facts.spacing_mm,
        bound,
        None,
        (*facts.warnings, *unfit),
        file_id(candidate.path),
        tuple(more),
    )


def file_id(path: Path) -> tuple[int, int] | None:
    """Device and inode; None when the file is gone by now."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
