"""The two columns of a survival target: how long somebody was observed, and whether the event ended it."""

from collections.abc import Sequence

import numpy as np

from aggregate.cohort.table.cohort_table import CohortTable
from aggregate.common.arrays import Floats, Ints
from aggregate.common.labels import Labels
from aggregate.common.table_values import is_missing, listed, read_number, value_name
from cache_schema.common.errors import ConfigError, SlicecacheError
from cache_schema.common.strict import Strict

SEEN = ("1", "yes", "true")
UNSEEN = ("0", "no", "false")
"""Values of an event column that need no explanation, in lower case."""

SHORTEST, LONGEST = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)
"""Times that heads can be trained on, in single precision; a shorter one counts as 0."""


class EventSpec(Strict):
    """Whether the event was seen, or observation ended without it."""

    column: str
    """Of the cohort table: whether the event was seen, e.g. `converted`."""
    values: Labels | None = None
    """Those that mean that it was seen; every other one means that it was not. By default 1, yes and true
    against 0, no and false, e.g. `[AD]`."""


def read_times(column: str, table: CohortTable, missing: Sequence[str]) -> tuple[Floats, list[str]]:
    """Times (row,), and why a row has none."""
    cells = [str(cell) for cell in table.text[column]]
    gone = [is_missing(cell, missing) for cell in cells]
    read = [None if miss else read_number(cell) for cell, miss in zip(cells, gone, strict=True)]
    numbers = [0.0 if number is not None and 0 <= number < SHORTEST else number for number in read]
    wrong = [
        repr(cell)
        for cell, number, miss in zip(cells, numbers, gone, strict=True)
        if not miss and (number is None or not 0 <= number < LONGEST)
    ]
    if wrong:
        raise SlicecacheError(
            f"target: task: survival takes times of 0 or more, and column {column!r} of {table.path.name} "
            f"holds {listed(list(dict.fromkeys(wrong)), 3)}; name codes for missing values by missing: [...]"
        )
    why = {True: "target missing", False: "no time under observation (0)"}
    reasons = [
        (why[miss] + f" ({cell})" * bool(cell) if miss else why[miss]) if miss or not number else ""
        for cell, number, miss in zip(cells, numbers, gone, strict=True)
    ]
    return np.array([number or np.nan for number in numbers], dtype=np.float64), reasons


def read_events(
    spec: EventSpec, column: str, table: CohortTable, missing: Sequence[str]
) -> tuple[Ints, list[str]]:
    """Whether each row's event was seen (row,), and why it is not known."""
    cells = [str(cell) for cell in table.text[column]]
    gone = [is_missing(cell, missing) for cell in cells]
    values = [value_name(cell) for cell in cells]
    present = sorted({value for value, miss in zip(values, gone, strict=True) if not miss})
    if spec.values is None:
        odd = [value for value in present if value.lower() not in SEEN + UNSEEN]
        if odd:
            raise SlicecacheError(
                f"target.event: column {column!r} of {table.path.name} holds {listed(odd, 3)}; say which "
                f"values mean that the event was seen, e.g. event: {{column: {column}, values: [{odd[0]}]}}"
            )
        seen = [value.lower() in SEEN for value in values]
    else:
        absent = [value for value in spec.values if value not in present]
        if absent:
            raise ConfigError(
                f"target.event.values: {listed(absent)} does not occur in column {column!r} of "
                f"{table.path.name}, which holds {listed(present)}"
            )
        seen = [value in spec.values for value in values]
    reasons = [
        f"event missing ({cell})" if miss and cell else "event missing" if miss else ""
        for cell, miss in zip(cells, gone, strict=True)
    ]
    return np.array(seen, dtype=np.int64), reasons
