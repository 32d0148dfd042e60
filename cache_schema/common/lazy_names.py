"""Public names that are imported when they are used (PEP 562), from a table of name -> `module:attribute`."""

import importlib
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

NamePlaces = Mapping[str, "str | NamePlaces"]
"""Name -> `module:attribute`, or the table of a namespace below it."""


def imported(place: str) -> Any:
    """What a `module:attribute` means."""
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)


def lazy_names(module: str, places: NamePlaces) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """A module's `__getattr__` and `__dir__`.

    Args:
        module: Its name, for the error that a misspelt name is.
        places: What it offers.
    """
    spaces = {
        name: _namespace(f"{module}.{name}", below)
        for name, below in places.items()
        if not isinstance(below, str)
    }

    def get(name: str) -> Any:
        place = places.get(name)
        if place is None:
            told = f"module {module!r} has no attribute {name!r}{_nearest(name, places)}"
            raise AttributeError(told, name=name)
        return imported(place) if isinstance(place, str) else spaces[name]

    return get, lambda: sorted(places)


def _nearest(name: str, places: NamePlaces) -> str:
    """`; did you mean 'train'?`, where one is near. Names with underscores are asked for by tools."""
    from difflib import get_close_matches

    near = [] if name.startswith("_") else get_close_matches(name[:80], places, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _namespace(name: str, places: NamePlaces) -> ModuleType:
    """A module that holds lazy names and nothing else, such as `sc.testing`."""
    made = ModuleType(name, f"Offers {', '.join(sorted(places))}.")
    get, listed = lazy_names(name, places)
    # A module looks both up among its own names.
    vars(made).update(__getattr__=get, __dir__=listed)
    return made
