"""Brain masks that lie among derivatives, found for each volume by its BIDS entities or by a pattern.

A mask belongs to a volume if it says nothing else of it: participant and session are the volume's, and so
is every further entity that the mask's name has. What says most wins. `desc`, `label` and `res` are the
mask's own; `space` must be the volume's, because a mask in another space lies on another grid.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from string import Formatter
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, field_validator

from cache_schema.common.errors import ConfigError
from cache_schema.common.short_forms import ONE, reads
from cache_schema.common.strict import Strict
from extract.sources.candidate import Candidate, bids_parts, stem
from extract.sources.walk import Walk

OWN = ("desc", "label", "res", "space")
"""Entities of a mask that its volume need not have."""
NAMED = ("name", "folder", "participant", "session")
"""What a pattern may ask for."""


@reads(ONE)
def _as_tuple(value: object) -> object:
    """One value is a list of one."""
    return (value,) if isinstance(value, str) else value


class BrainMasks(Strict):
    """`{derivatives: FOLDER}`, and how masks are called there where that is not `*_desc-brain_mask`."""

    derivatives: Path
    """The dataset that holds them, e.g. `derivatives/fmriprep`."""
    desc: Annotated[tuple[str, ...], BeforeValidator(_as_tuple), Field(min_length=1)] = ("brain",)
    """Of `*_desc-brain_mask.nii.gz`; `*_label-brain_mask` is the same."""
    pattern: str | None = None
    """In place of entities: `{folder}/{name}_mask.nii.gz`, of the volume's folder below its root and name,
    e.g. `"{folder}/{name}_mask.nii.gz"`."""
    required: bool = True
    """A volume without a mask is a failure; else its foreground is found as that of any other."""

    @field_validator("pattern")
    @classmethod
    def _known(cls, value: str | None) -> str | None:
        """Only what a volume has is filled in."""
        if value is None:
            return None
        asked = [(name, how) for _, name, how, _ in Formatter().parse(value) if name is not None]
        odd = [name for name, how in asked if name not in NAMED or how]
        if odd or not {name for name, _ in asked} & {"name", "participant"}:
            known = ", ".join(f"{{{name}}}" for name in NAMED)
            raise ValueError(
                f"a pattern says which volume it is for, by {known}, e.g. {{folder}}/{{name}}_mask.nii.gz"
            )
        return value


def with_masks(candidates: Sequence[Candidate], spec: BrainMasks, base: Path, root: Path) -> list[Candidate]:
    """The volumes with their masks; one whose mask is missing is refused, where it must have one.

    Args:
        candidates: Of a BIDS tree.
        spec: Where masks are.
        base: Folder that relative paths start from.
        root: Of the volumes.

    Raises:
        ConfigError: If there is no such dataset of derivatives.
    """
    place = Path(os.path.abspath(base / os.path.expanduser(spec.derivatives)))
    if spec.pattern is not None:
        _require_folder(place)
        return [_by_pattern(each, spec, place, root) for each in candidates]
    names = {each.key.participant_id for each in candidates}
    there = {name: _masks_of(place, name, spec.desc) for name in sorted(names & _participants(place))}
    return [_by_entities(each, spec, place, there.get(each.key.participant_id, ())) for each in candidates]


@dataclass(frozen=True, slots=True)
class Mask:
    """A file that is called a brain mask, by its name."""

    path: Path
    entities: Mapping[str, str]

    def fits(self, volume: Mapping[str, str]) -> bool:
        """Whether it says nothing else of the volume than the volume's own name, but for the space."""
        said = {name: value for name, value in self.entities.items() if name not in OWN}
        alike = all(_equal(volume.get(name, ""), value) for name, value in said.items())
        return alike and said.get("ses", "") == volume.get("ses", "")

    @property
    def space(self) -> str:
        """Where it lies; empty for the scan's own."""
        return self.entities.get("space", "")


def _masks_of(place: Path, participant: str, desc: Iterable[str]) -> tuple[Mask, ...]:
    """Every brain mask in a participant's folder."""
    named = [(path, bids_parts(stem(path))) for path in Walk(place).images(place / participant)]
    return tuple(
        Mask(path, entities)
        for path, (entities, suffix) in sorted(named, key=lambda each: str(each[0]))
        if suffix == "mask" and {entities.get("desc"), entities.get("label")} & set(desc)
    )


def _by_entities(candidate: Candidate, spec: BrainMasks, place: Path, masks: Sequence[Mask]) -> Candidate:
    """A volume with the one mask that says most of it."""
    volume, _ = bids_parts(stem(candidate.path))
    fitting = [mask for mask in masks if mask.fits(volume)]
    here = [mask for mask in fitting if mask.space == volume.get("space", "")]
    if not here:
        return _without(candidate, spec, place, [mask.space or "the scan's own" for mask in fitting])
    most = max(len(mask.entities) for mask in here)
    best = [mask for mask in here if len(mask.entities) == most]
    if len(best) > 1:
        names = " and ".join(repr(mask.path.name) for mask in best[:2])
        return replace(
            candidate,
            refusal=f"{len(best)} brain masks are as likely meant: {names}; say masks.desc or masks.pattern",
        )
    return replace(candidate, foreground_path=best[0].path)


def _equal(ours: str, theirs: str) -> bool:
    """Entities are equal as texts, indices as numbers."""
    return ours == theirs or (ours.isdigit() and theirs.isdigit() and int(ours) == int(theirs))


def _by_pattern(candidate: Candidate, spec: BrainMasks, place: Path, root: Path) -> Candidate:
    """A volume with the mask of the name that a pattern makes."""
    folder = os.path.relpath(candidate.path.parent, root)
    who, when = candidate.key.participant_id, candidate.key.session_id
    values = {"name": stem(candidate.path), "folder": folder, "participant": who, "session": when}
    path = Path(os.path.normpath(place / str(spec.pattern).format_map(values)))
    if not path.is_relative_to(place):
        raise ConfigError(
            f"input.masks.pattern {spec.pattern!r} leads out of {str(place)!r}, to {str(path)!r}"
        )
    if path.is_file():
        return replace(candidate, foreground_path=path)
    return _without(candidate, spec, path.parent, (), path.name)


def _without(
    candidate: Candidate, spec: BrainMasks, place: Path, spaces: Sequence[str], name: str = ""
) -> Candidate:
    """A volume that has no mask: refused, or as any other."""
    if not spec.required:
        return candidate
    called = name or f"*_desc-{spec.desc[0]}_mask"
    others = f"; those in {' and '.join(sorted(set(spaces)))} lie on other grids" if spaces else ""
    said = f"there is no brain mask {called} for it in {place.name!r}{others}"
    return replace(candidate, refusal=f"{said}; masks.required: false takes the foreground of the whole head")


def _require_folder(place: Path) -> None:
    if not place.is_dir():
        raise ConfigError(f"input.masks.derivatives: there is no folder {str(place)!r}")


def _participants(place: Path) -> set[str]:
    """The `sub-*` folders of a dataset of derivatives.

    Raises:
        ConfigError: If it is none.
    """
    _require_folder(place)
    with os.scandir(place) as entries:
        inside: list[Any] = [entry for entry in entries if entry.is_dir()]
    found = {entry.name for entry in inside if entry.name.startswith("sub-")}
    if not found:
        sets = ", ".join(sorted(entry.name for entry in inside)[:5])
        hint = f"; it holds {sets}: name one of these" if sets else ""
        raise ConfigError(f"input.masks.derivatives: {str(place)!r} has no sub-* folder{hint}")
    return found
