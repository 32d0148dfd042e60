"""Labels, and lists of them, as a pipeline file writes them."""

from typing import Annotated, Any

from pydantic import BeforeValidator

from aggregate.common.table_values import value_name
from cache_schema.common.short_forms import ONE, reads


@reads({"type": "number"})
def read_label(value: Any) -> str:
    """Read a label as text: 1 and 1.0 are `1`; YAML's bare yes and no are refused."""
    if isinstance(value, bool):
        raise ValueError("a bare yes, no, true or false is not a label; put it in quotes")
    return value_name(value)


@reads(ONE)
def read_many(value: Any) -> Any:
    """Read a single value as a list of one."""
    return value if isinstance(value, list | tuple) else [value]


def read_text_keys(value: Any) -> Any:
    """Read class names such as 0 and 1 as text."""
    return {read_label(key): item for key, item in value.items()} if isinstance(value, dict) else value


@reads({"type": "string"})
def read_column(value: Any) -> Any:
    """Read a bare column name as `{column: name}`."""
    return {"column": value} if isinstance(value, str) else value


Label = Annotated[str, BeforeValidator(read_label)]
Labels = Annotated[tuple[Label, ...], BeforeValidator(read_many)]
