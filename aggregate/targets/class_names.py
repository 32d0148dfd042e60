"""From the cells of a column to the names of classes, ordered or not."""

from collections.abc import Mapping, Sequence

import numpy as np

from aggregate.cohort.table.cohort_table import CohortTable
from aggregate.common.arrays import Floats
from aggregate.common.table_values import is_missing, listed, natural, read_number, value_name
from cache_schema.common.errors import ConfigError, SlicecacheError

MANY = 10
"""More distinct numbers than this are a measurement, not classes."""


def refuse_shared(classes: Mapping[str, Sequence[str]]) -> None:
    """A value stands for one class.

    Raises:
        ValueError: Naming one that stands for two.
    """
    seen: dict[str, str] = {}
    for name, values in classes.items():
        for value in values:
            if seen.setdefault(value, name) != name:
                raise ValueError(f"value {value!r} is in two classes, {seen[value]!r} and {name!r}")


class Cells:
    """The cells of a column, with one spelling per value."""

    def __init__(self, column: str, table: CohortTable, missing: Sequence[str]) -> None:
        self.column = table.require(column, "target")
        self.cells = [str(cell) for cell in table.text[self.column]]
        self.gone = [is_missing(cell, missing) for cell in self.cells]
        self.values = [value_name(cell) for cell in self.cells]
        pairs = zip(self.values, self.gone, strict=True)
        self.present = sorted({value for value, gone in pairs if not gone}, key=natural)

    def placed(self, of_value: Mapping[str, str], classes: Sequence[str]) -> tuple[Floats, tuple[str, ...]]:
        """Class index of every row (row, 1), NaN where there is none, and why there is none."""
        place = {name: index for index, name in enumerate(classes)}
        labels = np.full((len(self.cells), 1), np.nan)
        reasons: list[str] = []
        rows = zip(self.cells, self.values, self.gone, strict=True)
        for row, (cell, value, miss) in enumerate(rows):
            known = not miss and value in of_value
            if known:
                labels[row] = place[of_value[value]]
            reasons.append("" if known else reason_of(cell, value, miss))
        return labels, tuple(reasons)


def reason_of(cell: str, value: str, gone: bool) -> str:
    """Why a row has no class."""
    if not gone:
        return f"target {value} is in no class"
    return f"target missing ({cell})" if cell else "target missing"


def same_classes(
    classes: Sequence[str], said: Sequence[Mapping[str, tuple[str, ...]] | None]
) -> dict[str, tuple[str, ...]]:
    """The values of every class of a training in another table: the first that are said, or the names.

    Raises:
        ConfigError: If they are of other classes.
    """
    values = next((one for one in said if one is not None), None) or {name: (name,) for name in classes}
    if set(values) != set(classes):
        raise ConfigError(
            f"external.target.classes must name the training's classes {listed(list(classes))}, not "
            f"{listed(list(values))}"
        )
    return {name: values[name] for name in classes}


def named_values(
    column: str, classes: Mapping[str, Sequence[str]] | None, present: Sequence[str], table: CohortTable
) -> dict[str, str]:
    """Value -> class name, in class order.

    Args:
        column: Of the target.
        classes: As they are written out, if they are.
        present: Values that occur, in natural order.
        table: Has the column.

    Raises:
        ConfigError: If a class that is written out has no value in the column.
        SlicecacheError: If the column has no two values, or is a measurement.
    """
    if not present:
        raise SlicecacheError(f"target: column {column!r} of {table.path.name} holds no value at all")
    if classes is not None:
        _refuse_empty_classes(column, classes, present, table)
        return {value: name for name, values in classes.items() for value in values}
    if len(present) == 1:
        raise SlicecacheError(
            f"target: column {column!r} of {table.path.name} is constant ({present[0]}), so there is "
            "nothing to predict"
        )
    if len(present) > MANY:
        kind = "numbers" if all(read_number(value) is not None for value in present) else "values"
        raise SlicecacheError(
            f"target: column {column!r} holds {len(present)} different {kind} ({listed(present, 3)}); "
            "a number is predicted by task: regression, and classes are named by classes: {name: [values]}"
        )
    return {value: value for value in present}


def _refuse_empty_classes(
    column: str, classes: Mapping[str, Sequence[str]], present: Sequence[str], table: CohortTable
) -> None:
    if len(classes) < 2:
        raise ConfigError(
            f"target.classes names {listed(list(classes)) or 'no class'}; it takes at least two"
        )
    for name, values in classes.items():
        if not set(values) & set(present):
            raise ConfigError(
                f"target.classes: none of the values of {name!r} ({listed(values)}) occurs in column "
                f"{column!r} of {table.path.name}, which holds {listed(present)}"
            )
