"""What a validator reads beside the long form of a value, said where it is read.

`train: auto` is read as `train: {auto: true}`: a function that runs before a model sees the value does that,
and a JSON schema of the model knows nothing of it, unless the function says so.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

Form = Mapping[str, Any]
"""A JSON schema."""
F = TypeVar("F", bound=Callable[..., Any])

ONE: Form = {"one of the list": True}
"""Stands for one of a list's items in place of the list."""

_FORMS = "__short_forms__"


def reads(*forms: Form) -> Callable[[F], F]:
    """Say what a function for `BeforeValidator` or `WrapValidator` also takes.

    Args:
        forms: JSON schemas of it, or `ONE`.
    """

    def marked(function: F) -> F:
        setattr(function, _FORMS, forms)
        return function

    return marked


def short_forms(function: Any) -> tuple[Form, ...]:
    """What a function said that it also takes."""
    return getattr(function, _FORMS, ())
