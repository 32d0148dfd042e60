"""`report.json`: what a report shows, so that `slicecache report` makes the same one without the store.

It is the content of the page as plain JSON. A figure stands in it by the name of its table in `figures/`, a
picture by its bytes; text that is shown whole is marked, and everything is escaped again when it is shown.
"""

import base64
import binascii
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from aggregate.report.figures.drawing import Drawing
from aggregate.report.pages.rendering import Picture, Whole, encoded, whole

FIGURE, PICTURE, WHOLE = "$figure", "$picture", "$whole"
MOST_BYTES = 64 * 1024 * 1024
"""Of a `report.json` that is read."""


def plain(value: Any) -> Any:
    """Content as JSON.

    Raises:
        TypeError: If it holds something that a page cannot be made of again.
    """
    if isinstance(value, Drawing):
        return {FIGURE: {"name": value.name, "kind": value.kind, "facts": value.facts}}
    if isinstance(value, Picture):
        return {PICTURE: str(value)}
    if isinstance(value, Whole):
        return {WHOLE: str(value.unescape())}
    if isinstance(value, np.generic):
        return plain(value.item())
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    if is_dataclass(value) and not isinstance(value, type):
        return {name: plain(getattr(value, name)) for name in _names(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    raise TypeError(f"a report cannot keep a {type(value).__name__}")


def _names(value: Any) -> list[str]:
    """Fields and properties."""
    known = type(value)
    derived = [name for name in dir(known) if isinstance(getattr(known, name), property)]
    return [field.name for field in fields(value)] + derived


def restored(value: Any, drawings: Mapping[str, Any]) -> Any:
    """Content as `plain` made it, for the template.

    Args:
        value: From JSON.
        drawings: By name.

    Raises:
        ValueError: If a picture is none.
        KeyError: If a figure is not among the drawings.
    """
    if isinstance(value, list):
        return [restored(item, drawings) for item in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {FIGURE}:
        return drawings[value[FIGURE]["name"]]
    if value.keys() == {WHOLE}:
        return whole(str(value[WHOLE]))
    if value.keys() == {PICTURE}:
        try:
            return encoded(base64.b64decode(str(value[PICTURE]), validate=True))
        except binascii.Error as error:
            raise ValueError(f"a picture is not base64 ({error})") from None
    return {key: restored(item, drawings) for key, item in value.items()}


def drawings_in(value: Any) -> Iterator[Drawing]:
    """Every figure of a page's content."""
    if isinstance(value, Drawing):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from drawings_in(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from drawings_in(item)


def figures_in(value: Any) -> Iterator[dict[str, Any]]:
    """Name, kind and facts of every figure of a kept page."""
    if isinstance(value, list):
        for item in value:
            yield from figures_in(item)
    elif isinstance(value, dict):
        if value.keys() == {FIGURE}:
            yield value[FIGURE]
        else:
            for item in value.values():
                yield from figures_in(item)
