"""What a pipeline file says about rows and volumes: how they are joined, and which volumes are used."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from aggregate.common.table_values import value_name
from cache_schema.common.strict import Strict


def label_text(value: Any) -> str:
    """Read a label as text: 1 and 1.0 are `1`; YAML's bare yes and no are refused."""
    if isinstance(value, bool):
        raise ValueError("a bare yes, no, true or false is not a label; put it in quotes")
    return value_name(value)


def as_many(value: Any) -> Any:
    """Read a single value as a list of one."""
    return value if isinstance(value, list | tuple) else [value]


def text_keys(value: Any) -> Any:
    """Read class names such as 0 and 1 as text."""
    return {label_text(key): item for key, item in value.items()} if isinstance(value, dict) else value


Label = Annotated[str, BeforeValidator(label_text)]
Labels = Annotated[tuple[Label, ...], BeforeValidator(as_many)]


class JoinSpec(Strict):
    """How rows of the table find volumes of the store."""

    participant: str = "participant_id"
    session: str | None = None
    """Column of the session; by default `session_id` where the table has it."""
    strip_prefix: Annotated[tuple[str, ...], BeforeValidator(as_many)] = ()
    """Taken off participant ids on both sides; `sub-` (and `ses-` off sessions) always is."""
    visits: Annotated[dict[str, Label], BeforeValidator(text_keys)] = Field(default_factory=dict)
    """Session code of the table -> session of the store, e.g. `{bl: "01", m06: "02"}`."""
    order: str | None = None
    """Column that orders the sessions of a participant (age, days, an ISO date); by default they are
    in natural order of the session id, in which `ses-2` comes before `ses-10`."""


class SelectSpec(Strict):
    """Which volumes of a session are used."""

    contrast: Label | None = None
    acquisition: Label | None = None
    space: Label | None = None
    description: Label | None = None
    volume_id: Label | None = None
    run: Label | None = None
    """A run's number, or `first` or `last` of those in the session."""
