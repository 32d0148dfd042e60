"""Where in a value a model found something wrong: its own steps are there, and only those.

A validator's location also names the branches of unions that it tried, and what lies in values that were
read in a longer form than they were written in.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel, Tag

KIND = "kind"
"""The key that tells the members of a union apart."""

Model = type[BaseModel]
Branch = tuple[str | None, Model]
"""A model that may stand somewhere, and its tag where the union gives it one."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a problem lies."""

    path: tuple[str, ...]
    """Keys and list indices as they were written."""
    models: tuple[Model, ...]
    """That may stand there; where a key is unknown or missing, those that it was looked up in."""


def find_place(model: Model, value: Any, loc: Sequence[str | int], kind: str) -> Place:
    """Follow a problem's location through model and value.

    Args:
        model: Of the whole value.
        value: As it was written.
        loc: Of the problem, by the validator.
        kind: Of the problem, by the validator.
    """
    about_a_key = kind in ("missing", "extra_forbidden")
    here: list[Branch] = [(None, model)]
    path: list[str] = []
    for number, part in enumerate(loc, start=1):
        tagged = [branch for branch in here if part in _tags(branch)] if len(here) > 1 else []
        if tagged:
            here = tagged
            continue
        last = number == len(loc)
        below, is_field = _below(here, part)
        holds = _holds(value, part)
        if isinstance(value, Mapping | list | tuple) and (is_field or holds or (last and about_a_key)):
            path.append(str(part))
        if not (last and about_a_key):
            here = below
        value = value[part] if holds else None
    return Place(tuple(path), tuple(member for _, member in here))


def _below(here: Sequence[Branch], part: str | int) -> tuple[list[Branch], bool]:
    """What may stand one step further, and whether that step is a field."""
    fields = [member.model_fields[part] for _, member in here if part in member.model_fields]
    if fields:
        return [branch for field in fields for branch in branches(field.annotation)], True
    extra = [vars(member).get("__annotations__", {}).get("__pydantic_extra__") for _, member in here]
    return [branch for annotation in extra for branch in branches(annotation)] or list(here), False


def _holds(value: Any, part: str | int) -> bool:
    """Whether a written value has such a step."""
    if isinstance(value, Mapping):
        return part in value
    return isinstance(value, list | tuple) and isinstance(part, int) and part < len(value)


def branches(annotation: Any, tag: str | None = None) -> list[Branch]:
    """The models that an annotation mentions, through unions, optionals and containers."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [(tag, annotation)]
    if get_origin(annotation) is Annotated:
        annotation, *more = get_args(annotation)
        tag = next((str(note.tag) for note in more if isinstance(note, Tag)), None)
        return branches(annotation, tag)
    return [branch for part in get_args(annotation) for branch in branches(part)]


def _tags(branch: Branch) -> tuple[str, ...]:
    """By what a union tells a branch."""
    tag, member = branch
    if tag is not None:
        return (tag,)
    return get_args(member.model_fields[KIND].annotation) if KIND in member.model_fields else ()


def kinds_of(models: Sequence[Model]) -> list[str]:
    """The kinds of a union's members, in its order."""
    return [kind for member in models for kind in _tags((None, member))]


def fields_below(model: Model) -> Iterator[tuple[str, ...]]:
    """The paths of all fields of a model and of those inside it, the shallow ones first."""
    left: list[tuple[tuple[str, ...], Model]] = [((), model)]
    seen: set[Model] = set()
    for path, member in left:  # grows while it is walked
        if member not in seen:
            seen.add(member)
            yield from ((*path, name) for name in member.model_fields)
            for name, field in member.model_fields.items():
                left += [((*path, name), inner) for _, inner in branches(field.annotation)]
