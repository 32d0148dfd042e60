"""What an extraction would do, from file headers alone."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from cache_schema.common.errors import ConfigError, VolumeError
from cache_schema.format.header import ArraySpec
from cache_schema.format.record import TableRow
from extract.slices.preprocessing import Preprocessing
from extract.sources.bids import BidsInput, find_bids
from extract.sources.candidate import Candidate
from extract.sources.manifest import ManifestInput, find_manifest
from extract.volume.hdf5 import open_volume
from extract.volume.headers import quiet, read_facts
from extract.volume.orient import stack_spacing, stack_to_native

HEADER_THREADS = 8
"""Headers are read in parallel because network file systems answer late, not because it is work."""

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


@dataclass(frozen=True, slots=True)
class ExtractionPlan:
    """Every volume of the input, sorted by key."""

    volumes: tuple[PlannedVolume, ...]
    notes: tuple[str, ...] = ()
    """What the input says beside its volumes, e.g. rows without a file."""

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
    spec: BidsInput | ManifestInput, base: Path, preprocessing: Preprocessing
) -> ExtractionPlan:
    """Find every volume and look at its header.

    Args:
        spec: The input.
        base: Folder that relative paths start from.
        preprocessing: Says who is let in, and how many slices are kept at most.

    Raises:
        ConfigError: If the input cannot be understood, or two volumes have one key.
    """
    candidates, notes = find_volumes(spec, base)
    refuse_same_keys(candidates)
    with quiet(), ThreadPoolExecutor(HEADER_THREADS) as pool:
        volumes = list(pool.map(lambda candidate: plan_volume(candidate, preprocessing), candidates))
    return ExtractionPlan(tuple(volumes), tuple(notes))


def find_volumes(spec: BidsInput | ManifestInput, base: Path) -> tuple[list[Candidate], list[str]]:
    """Candidates of an input, and notes on what it holds beside them."""
    if isinstance(spec, BidsInput):
        return find_bids(spec, base), []
    return find_manifest(spec, base)


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


def plan_volume(candidate: Candidate, preprocessing: Preprocessing) -> PlannedVolume:
    """Look at one header; a volume that cannot be used is an answer, not an error."""
    try:
        if candidate.foreground_path is not None and not os.path.exists(candidate.foreground_path):
            raise VolumeError(f"there is no foreground mask {str(candidate.foreground_path)!r}")
        facts = read_facts(open_volume(candidate), candidate, preprocessing.allow_unknown_orientation)
    except VolumeError as error:
        return PlannedVolume(candidate, None, None, 0, str(error))
    to_native = stack_to_native(facts.affine, facts.shape, preprocessing.orient)
    count = int(np.abs(to_native[:3, 2]) @ np.asarray(facts.shape))
    bound = preprocessing.slices.bound(count, stack_spacing(to_native, facts.spacing_mm)[0])
    return PlannedVolume(candidate, facts.shape, facts.spacing_mm, bound, None, facts.warnings)
