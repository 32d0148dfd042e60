"""Which volumes of a store detection looks at, and which of them the column of the reference calls normal."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from aggregate.anomaly.measure.truth import LesionTruth
from aggregate.anomaly.request import DetectRequest
from aggregate.anomaly.spec import DetectSpec, ReferenceSpec
from aggregate.cohort.narrowing import (
    Narrowing,
    apply_where,
    match,
    narrow,
    read_cohort_table,
    take_turnout,
)
from aggregate.cohort.table.cohort_table import CohortTable
from aggregate.cohort.table.columns import told_columns
from aggregate.cohort.table.join import make_join
from aggregate.cohort.turnout import Turnout
from aggregate.common.table_values import is_missing, listed, natural, value_name
from cache_schema.common.errors import ConfigError, SlicecacheError
from cache_schema.format.identity import VolumeKey
from cache_schema.format.record import VolumeRecord
from cache_schema.store.reader import StoreReader, VolumeEntry


@dataclass(frozen=True, slots=True)
class CandidateVolume:
    """One volume that takes part."""

    entry: VolumeEntry
    record: VolumeRecord
    normal: bool | None
    """In the reference group, outside it by its value, or not known."""
    mask: str = ""
    """The truth column's cell."""
    cells: tuple[tuple[str, str], ...] = ()
    """Name and cell of what its page tells of the table's row."""

    @property
    def key(self) -> VolumeKey:
        """Of the volume."""
        return self.entry.key


@dataclass(frozen=True, slots=True)
class CandidateVolumes:
    """The volumes of one store that take part."""

    volumes: tuple[CandidateVolume, ...]
    """By key."""
    turnout: Turnout
    """Who is used of whom store and table know."""
    folder: Path
    """The cohort table's."""


def read_candidates(request: DetectRequest, store: StoreReader) -> CandidateVolumes:
    """Join the cohort table to a store, without a target.

    Args:
        request: Says where the table is, how it is joined and narrowed, and who the normals are.
        store: Open.

    Raises:
        ConfigError: If a column or a value of the reference group does not exist.
        SlicecacheError: If the table cannot be read or is ambiguous, or nothing matches.
    """
    if not store.entries:
        raise SlicecacheError(f"the store {store.location} holds no committed volume yet; run extract first")
    asked = request.cohort
    whole = read_cohort_table(asked)
    join = make_join(asked.join, whole, [entry.key for entry in store.entries])
    table, dropped = apply_where(asked, whole, join)
    pairs = join.of_table(table)
    joined = match(store, join, pairs, dropped, table)
    left = narrow(asked, table, join, joined)
    normal = _normal(request.detect.reference, table, asked.missing)
    masks = _masks(request.detect, table)
    told = told_columns(list(table.text.columns), [request.detect.reference.column])
    cells = [tuple(zip(told, row, strict=True)) for row in table.text[told].astype(str).to_numpy().tolist()]
    volumes = [_candidate(joined, index, normal, masks, cells) for index in left]
    turnout = take_turnout(store, join, table, pairs, joined, [v.key.participant_id for v in volumes])
    return CandidateVolumes(tuple(sorted(volumes, key=lambda volume: volume.key)), turnout, whole.path.parent)


def _candidate(
    joined: Narrowing,
    index: int,
    normal: Sequence[bool | None],
    masks: Sequence[str],
    cells: Sequence[tuple[tuple[str, str], ...]],
) -> CandidateVolume:
    row = joined.rows[index]
    entry, record = joined.entries[index], joined.records[index]
    return CandidateVolume(entry, record, normal[row], masks[row], cells[row])


def _normal(reference: ReferenceSpec, table: CohortTable, missing: Sequence[str]) -> list[bool | None]:
    """Of every row: whether it is in the reference group, None where the cell is missing.

    Raises:
        ConfigError: If the column or one of the values does not exist.
    """
    if reference.column is None:
        return [None] * len(table.text)
    column = table.require(reference.column, "detect.reference")
    cells = [str(cell) for cell in table.text[column]]
    known = sorted({value_name(cell) for cell in cells if not is_missing(cell, missing)}, key=natural)
    absent = [value for value in reference.wanted if value not in known]
    if absent:
        raise ConfigError(
            f"detect.reference: no row of {table.path.name} has {column} = {listed(absent)}; there are "
            f"{listed(known)}"
        )
    return [None if is_missing(cell, missing) else value_name(cell) in reference.wanted for cell in cells]


def _masks(detect: DetectSpec, table: CohortTable) -> list[str]:
    """The truth column's cells, empty where missing."""
    if detect.truth is None or detect.truth.column is None:
        return [""] * len(table.text)
    column = table.require(detect.truth.column, "detect.truth")
    return ["" if is_missing(str(cell)) else str(cell).strip() for cell in table.text[column]]


def known_by_mask(candidates: CandidateVolumes, truth: LesionTruth) -> CandidateVolumes:
    """With `slices: lesion_free` the reference group is everybody whose lesions are known."""
    volumes = tuple(
        replace(volume, normal=True if truth.known(volume.key) else None) for volume in candidates.volumes
    )
    return replace(candidates, volumes=volumes)
