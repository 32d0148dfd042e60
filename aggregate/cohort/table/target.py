"""From the values of a column to classes: which there are, which is positive, and who has none."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, model_validator

from aggregate.cohort.table.cohort_table import CohortTable
from aggregate.common.labels import Label, Labels, read_text_keys
from aggregate.common.table_values import is_missing, listed, natural, nearest, read_number, value_name
from cache_schema.common.errors import ConfigError, SlicecacheError
from cache_schema.common.strict import Strict, later

CONTROLS = {"control", "controls", "ctrl", "con", "healthy", "hc", "nc", "cn", "nl", "normal", "negative"}
NEGATIVES = CONTROLS | {"neg", "no", "none", "false", "0", "-1", "unaffected", "absent"}
"""Words, in lower case, for the class that is not positive."""

MANY = 10
"""More distinct numbers than this are a measurement, not classes."""


class TargetSpec(Strict):
    """What is predicted."""

    column: str
    classes: Annotated[dict[str, Labels] | None, BeforeValidator(read_text_keys)] = None
    """Class name -> the values of the column that it stands for; other values are left out."""
    positive: Label | None = None
    """The positive one of two classes. By default the last of `classes` if those are written out; else
    the one that is not a word for controls (control, healthy, CN, 0, no, ...); else the last in order."""
    task: Literal["classification"] = "classification"
    pairs: Literal["all"] | tuple[tuple[Label, Label], ...] | None = later(None)
    """Of more than two classes two at a time are also trained against each other (`cohort/pairs.py`): `all`,
    or those listed, the positive one of each last."""

    @model_validator(mode="before")
    @classmethod
    def _later(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("task") in ("regression", "ordinal"):
            raise ValueError(f"{data['task']} is not there yet; write classes: {{name: [values]}} instead")
        return data

    @model_validator(mode="after")
    def _disjoint(self) -> Self:
        seen: dict[str, str] = {}
        for name, values in (self.classes or {}).items():
            for value in values:
                if seen.setdefault(value, name) != name:
                    raise ValueError(f"value {value!r} is in two classes, {seen[value]!r} and {name!r}")
        return self


@dataclass(frozen=True, slots=True)
class Target:
    """The classes and every row's place among them."""

    column: str
    classes: tuple[str, ...]
    """Names; of two the positive one is last."""
    labels: tuple[int | None, ...]
    """Class index per row; None where there is no label."""
    reasons: tuple[str, ...]
    """Why a row has no label; empty where it has one."""
    notes: tuple[str, ...] = ()


def read_target(spec: TargetSpec, table: CohortTable, missing: Sequence[str] = ()) -> Target:
    """Give every row its class.

    Classes that are not written out are the values that occur in the table, in natural order.

    Raises:
        ConfigError: If the column or the positive class does not exist.
        SlicecacheError: If there are fewer than two classes, or the column is a measurement.
    """
    column = table.require(spec.column, "target")
    cells = [str(cell) for cell in table.text[column]]
    gone = [is_missing(cell, missing) for cell in cells]
    values = [value_name(cell) for cell in cells]
    present = sorted({v for v, m in zip(values, gone, strict=True) if not m}, key=natural)
    of_value = _classes(spec, present, table)
    names = list(dict.fromkeys(of_value.values()))
    classes, notes = _positive_last(spec, names, present)
    place = {name: index for index, name in enumerate(classes)}
    labels: list[int | None] = []
    reasons: list[str] = []
    for cell, value, miss in zip(cells, values, gone, strict=True):
        known = not miss and value in of_value
        labels.append(place[of_value[value]] if known else None)
        reasons.append(_reason(cell, value, miss) if not known else "")
    return Target(column, classes, tuple(labels), tuple(reasons), notes)


def _reason(cell: str, value: str, gone: bool) -> str:
    if not gone:
        return f"target {value} is in no class"
    return f"target missing ({cell})" if cell else "target missing"


def _classes(spec: TargetSpec, present: Sequence[str], table: CohortTable) -> dict[str, str]:
    """Value -> class name, in class order."""
    if not present:
        raise SlicecacheError(f"target: column {spec.column!r} of {table.path.name} holds no value at all")
    if spec.classes is not None:
        _refuse_empty_classes(spec, present, table)
        return {value: name for name, values in spec.classes.items() for value in values}
    if len(present) == 1:
        raise SlicecacheError(
            f"target: column {spec.column!r} of {table.path.name} is constant ({present[0]}), so there is "
            "nothing to predict"
        )
    if len(present) > MANY:
        kind = "numbers" if all(read_number(value) is not None for value in present) else "values"
        raise SlicecacheError(
            f"target: column {spec.column!r} holds {len(present)} different {kind} ({listed(present, 3)}); "
            "regression is not there yet, and classes are named by classes: {name: [values]}"
        )
    return {value: value for value in present}


def _refuse_empty_classes(spec: TargetSpec, present: Sequence[str], table: CohortTable) -> None:
    classes = spec.classes or {}
    if len(classes) < 2:
        raise ConfigError(
            f"target.classes names {listed(list(classes)) or 'no class'}; it takes at least two"
        )
    for name, values in classes.items():
        if not set(values) & set(present):
            raise ConfigError(
                f"target.classes: none of the values of {name!r} ({listed(values)}) occurs in column "
                f"{spec.column!r} of {table.path.name}, which holds {listed(present)}"
            )


def _positive_last(
    spec: TargetSpec, names: Sequence[str], present: Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Order of the classes, and the sentence that says which is positive when nobody chose it."""
    if len(names) > 2:
        if spec.positive is not None:
            raise ConfigError(
                f"target.positive is for two classes, and there are {len(names)}: {listed(names)}"
            )
        return tuple(names), ()
    if spec.positive is not None:
        if spec.positive not in names:
            raise ConfigError(
                f"target.positive {spec.positive!r} is not a class{nearest(spec.positive, list(names))}"
            )
        return (next(n for n in names if n != spec.positive), spec.positive), ()
    negative = [name for name in names if name.lower() in NEGATIVES]
    if spec.classes is None and len(negative) == 1:
        positive = next(name for name in names if name != negative[0])
        why = f"{negative[0]!r} is a word for those without"
    else:
        positive = names[-1]
        why = "it is the last class" if spec.classes is None else "it stands last in target.classes"
    other = next(name for name in names if name != positive)
    return (other, positive), (f"positive class: {positive!r} ({why}; target.positive chooses otherwise)",)
