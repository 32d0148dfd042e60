"""An example of every field, as YAML writes it, and the least that a model takes."""

from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined, to_jsonable_python

from cache_schema.common.text.places import branches
from cache_schema.words.annotations import choices, members, tells_apart
from cache_schema.words.field_words import said_example


def example(model: type[BaseModel], name: str) -> Any:
    """A value that may stand there: what the words say, else another choice than the default, else this.

    None where there is none.
    """
    field = model.model_fields[name]
    if (said := said_example(model, name)) is not None:
        return said
    others = choices(field.annotation) or ((False, True) if members(field.annotation) == (bool,) else ())
    if others:
        return next((value for value in others if value != field.default), others[0])
    held = [member for _, member in branches(field.annotation)]
    default = default_of(model, name)
    if held and default in (None, PydanticUndefined):
        return minimal(held[0])
    return None if default is PydanticUndefined else default


def minimal(model: type[BaseModel]) -> dict[str, Any]:
    """The least that a model takes, and what tells it from others of its union."""
    return {
        name: example(model, name)
        for name, field in model.model_fields.items()
        if field.is_required() or tells_apart(field)
    }


def default_of(model: type[BaseModel], name: str) -> Any:
    """The default of a field in a new pipeline file, as YAML writes it; `PydanticUndefined` without one.

    Of a part only what it was given stands there, and its kind: the rest are defaults of its own.
    """
    fresh: dict[str, Any] = getattr(model, "new_run", lambda given: {})({})
    if name in fresh:
        return fresh[name]
    value = model.model_fields[name].get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        if hasattr(value, "as_number"):
            return value.as_number
        kinds = {key: field.default for key, field in type(value).model_fields.items() if tells_apart(field)}
        return kinds | value.model_dump(mode="json", exclude_unset=True)
    return value if value is PydanticUndefined else to_jsonable_python(value)
