"""The base of every specification that is read from YAML or JSON, and how it may grow.

Version 1 grows by fields that were not there before. Such a field is declared with `later(value)`, where
`value` is what held implicitly before: it is the default, and it is never written, so that what an older
program stored and what a newer one stores of the same thing are the same bytes and have the same digests.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cache_schema.common.one_line import printable
from cache_schema.common.text.mistakes import THEIRS, expectation


class Strict(BaseModel):
    """Frozen; unknown keys are errors; NaN and infinity are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())


def later(value: Any, **constraints: Any) -> Any:
    """Declare a field that came after version 1.0, with the value that held before it existed.

    Written `engine: str = later("torch")`. Whoever reads a store from before finds `value`, and whoever has
    `value` writes nothing. So it must never change: another default for new runs is set where pipeline
    files are read, not here.

    Args:
        value: What held before the field existed.
        constraints: As of pydantic's `Field`, e.g. `ge=0`.
    """
    return Field(default=value, exclude_if=lambda found: bool(found == value), **constraints)


def refusal(error: ValidationError, what: str) -> str:
    """One sentence on stored JSON that a model refuses; the first unknown field comes before all else.

    Args:
        error: Of validating it.
        what: Begins the sentence, e.g. `header.json of 'runs/demo/cache.zarr'`.
    """
    first = min(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")
    where = printable(".".join(str(part)[:60] for part in first["loc"]))
    if first["type"] == "extra_forbidden":
        return (
            f"{what} has the field {where!r}, which this version of slicecache does not know: a newer one "
            "wrote it, and numbers may mean something else there; install that one"
        )
    wrong = "it is missing" if first["type"] == "missing" else f"{expectation(first)} is expected"
    if first["type"] not in THEIRS:
        wrong = expectation(first)
    return printable(f"{what} is wrong at {where or 'the top'}: {wrong}")
