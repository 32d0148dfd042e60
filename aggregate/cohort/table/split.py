"""A split that the table gives: `split: {column: split}` with values train, val and test."""

from collections.abc import Sequence
from typing import Literal

from aggregate.cohort.table.cohort_table import CohortTable
from aggregate.common.table_values import listed
from cache_schema.common.errors import SlicecacheError
from cache_schema.common.strict import Strict


class SplitSpec(Strict):
    """A split that the table gives."""

    column: str
    """Holds train, val or test (also training, valid, validation, dev, testing), e.g. `split`."""


Side = Literal["train", "validation", "test"]

SIDES: dict[str, Side] = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}


def read_split(spec: SplitSpec, table: CohortTable, participants: Sequence[str]) -> list[Side | None]:
    """The side of every row, None where the cell is missing.

    Every row of the table is looked at, those without a volume too: a table that puts somebody on two
    sides is wrong as a whole.

    Args:
        spec: Names the column.
        table: The cohort table.
        participants: Of each row, as they are compared.

    Raises:
        ConfigError: If there is no such column.
        SlicecacheError: If a value is not a side, or a participant is on two.
    """
    table.require(spec.column, "split")
    gone = table.typed[spec.column].isna()
    cells = [str(cell).strip() for cell in table.text[spec.column]]
    sides: list[Side | None] = []
    for cell, missing in zip(cells, gone, strict=True):
        if not missing and cell.lower() not in SIDES:
            raise SlicecacheError(f"split: {spec.column!r} holds {cell!r}; it takes train, val and test")
        sides.append(None if missing else SIDES[cell.lower()])
    found: dict[str, set[str]] = {}
    for participant, side in zip(participants, sides, strict=True):
        if side is not None:
            found.setdefault(participant, set()).add(side)
    torn = [f"{name} ({' and '.join(sorted(s))})" for name, s in found.items() if len(s) > 1]
    if torn:
        raise SlicecacheError(
            f"split: a participant belongs to one side, but {spec.column!r} of {table.path.name} puts "
            f"{listed(torn)} on two"
        )
    return sides
