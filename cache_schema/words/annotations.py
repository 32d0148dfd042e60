"""Annotations of fields, taken apart."""

from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo


def members(annotation: Any) -> tuple[Any, ...]:
    """What a value may be, through unions and notes; None apart from null itself."""
    if get_origin(annotation) is Annotated:
        return members(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        inner = (member for part in get_args(annotation) for member in members(part))
        return tuple(member for member in inner if member is not NoneType)
    return (annotation,)


def choices(annotation: Any) -> tuple[Any, ...]:
    """The values of literals."""
    literals = (part for part in members(annotation) if get_origin(part) is Literal)
    return tuple(value for part in literals for value in get_args(part))


def tells_apart(field: FieldInfo) -> bool:
    """Whether a field is the one word by which a union knows a member, such as `kind: mean`."""
    words, whole = choices(field.annotation), members(field.annotation)
    told = len(words) == len(whole) == 1 and isinstance(words[0], str)
    return told and (field.is_required() or field.default == words[0])
