"""Which volumes will find a row of the cohort table, told before anything of them is embedded."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from aggregate.cohort.narrowing import apply_where, read_cohort_table, rows_of
from aggregate.cohort.request import CohortRequest
from aggregate.cohort.table.join import make_join
from aggregate.cohort.table_keys import TableKeys
from aggregate.common.table_values import listed
from cache_schema.common.errors import SlicecacheError
from cache_schema.common.pipeline_file import Pipeline, validate
from cache_schema.files.locate import open_objects
from cache_schema.format.identity import VolumeKey
from cache_schema.store.table import read_volume_table

SECTION = "aggregate"
EXTERNAL = "external"
"""Below it: another cohort, with the same words for its table, and a store of its own."""
SHOWN = 3
"""Volumes without a row that are named."""


@dataclass(frozen=True, slots=True)
class Foreseen:
    """How many planned volumes find a row."""

    planned: int
    found: int
    said: str
    """In one line, for people."""
    external: "Foreseen | None" = None
    """The same of the external cohort, where its store has volumes already."""

    def in_words(self) -> str:
        """A line for each cohort."""
        more = "" if self.external is None else f"\n{SECTION}.{EXTERNAL}: {self.external.in_words()}"
        return self.said + more

    def as_json(self) -> dict[str, Any]:
        """For `plan --json`."""
        more = {} if self.external is None else {EXTERNAL: self.external.as_json()}
        return {"volumes": self.planned, "with_row": self.found, "said": self.said, **more}


def foreseen(pipeline: Pipeline, keys: Sequence[VolumeKey]) -> Foreseen | None:
    """What a plan says of the cohort table; what is wrong with that one is said, and no error yet.

    Args:
        pipeline: Whose `aggregate.cohort` names the table.
        keys: Of the planned volumes that can be embedded.

    Returns:
        None where there is no volume or no table.
    """
    section = pipeline.data.get(SECTION)
    if not keys or not isinstance(section, dict) or "cohort" not in section:
        return None
    told = _foreseen(pipeline, section, SECTION, keys)
    external = section.get(EXTERNAL)
    if not isinstance(external, dict) or not {"cohort", "store"} <= external.keys():
        return told
    try:
        there = volumes_at(pipeline.location(str(external["store"])))
    except SlicecacheError as error:
        return replace(told, external=Foreseen(0, 0, f"note: {error}"))
    if not there:
        return told
    return replace(told, external=_foreseen(pipeline, external, f"{SECTION}.{EXTERNAL}", there))


def _foreseen(pipeline: Pipeline, section: dict[str, Any], where: str, keys: Sequence[VolumeKey]) -> Foreseen:
    """Of one cohort, whose section lies at `where` in the file."""
    try:
        own = {name: section[name] for name in TableKeys.model_fields if name in section}
        request = validate(TableKeys, own, where).table_request(pipeline.path)
        reasons, name = _reasons(request, keys)
    except SlicecacheError as error:
        return Foreseen(len(keys), 0, f"note: {error}")
    without = [str(key) for key, reason in zip(keys, reasons, strict=True) if reason]
    none = f"; none for {listed(without, SHOWN)}" if without else ""
    found = len(keys) - len(without)
    row = "a row" if request.where is None else "a row, after where,"
    return Foreseen(len(keys), found, f"{name} has {row} for {found} of {len(keys)} volumes{none}")


def refuse_without_rows(request: CohortRequest, keys: Sequence[VolumeKey], location: str) -> None:
    """Refuse what training would refuse of the table when all is embedded.

    Args:
        request: The cohort's.
        keys: Of the volumes that are to be embedded.
        location: Of the store, which may have others already.

    Raises:
        ConfigError: If a column does not exist.
        SlicecacheError: If the table cannot be read, or no volume finds a row.
    """
    every = list(dict.fromkeys((*keys, *volumes_at(location))))
    if every:
        _reasons(request, every)


def volumes_at(location: str) -> list[VolumeKey]:
    """Of the table of a store, none where there is no store yet.

    Raises:
        SlicecacheError: If its table cannot be read.
    """
    objects = open_objects(location)
    return [] if objects is None else list(read_volume_table(objects).index)


def _reasons(request: CohortRequest, keys: Sequence[VolumeKey]) -> tuple[list[str], str]:
    """Why a volume has no row, empty where it has one, and the table's name.

    Raises:
        ConfigError: If a column does not exist.
        SlicecacheError: If the table cannot be read, or no volume finds a row.
    """
    whole = read_cohort_table(request)
    join = make_join(request.join, whole, keys)
    table, dropped = apply_where(request, whole, join)
    return rows_of(keys, join, join.of_table(table), dropped, table)[1], table.path.name
