"""What a field is, in the words that stand below it in the source, and the example among them.

The docstring below a field describes it; an example follows `e.g.` in backticks, as YAML. They are read from
the source when somebody asks, so that no run pays for them.
"""

import ast
import functools
import inspect
import itertools
import re
import sys
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from cache_schema.common.text.places import branches
from cache_schema.common.text.yaml_text import parse_yaml
from cache_schema.words.annotations import tells_apart

EXAMPLE = re.compile(r"\b[eE]\.g\. `([^`]+)`")


def description(model: type[BaseModel], name: str) -> str:
    """What a field is: its own words, or those of the one model that it holds or tells apart.

    Empty where there are none.
    """
    own = _docstrings(model).get(name)
    if own is not None:
        return own
    field = model.model_fields[name]
    if tells_apart(field):
        return summary(model)
    held = {member for _, member in branches(field.annotation)}
    return summary(held.pop()) if len(held) == 1 else ""


def said_example(model: type[BaseModel], name: str) -> Any:
    """The example that the words give; None where they give none."""
    found = EXAMPLE.search(_docstrings(model).get(name, ""))
    return None if found is None else parse_yaml(found[1], f"the example of {model.__name__}.{name}")


def summary(model: type[BaseModel]) -> str:
    """The first paragraph of a model's docstring, in one line."""
    return " ".join((model.__doc__ or "").split("\n\n")[0].split())


@functools.cache
def _docstrings(model: type[BaseModel]) -> dict[str, str]:
    """Field -> what stands below it, in one line; a field that is declared anew may keep its base's words."""
    found: dict[str, str] = {}
    for base in reversed(model.__mro__):
        if issubclass(base, BaseModel) and base is not BaseModel:
            found.update(_declared(base))
    return found


def _declared(model: type[BaseModel]) -> Iterator[tuple[str, str]]:
    """Of the fields that a class declares itself."""
    body = _classes(model.__module__).get(model.__qualname__, [])
    for field, below in itertools.pairwise(body):
        if not (isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)):
            continue
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            yield field.target.id, " ".join(str(below.value.value).split())


@functools.cache
def _classes(module: str) -> dict[str, list[ast.stmt]]:
    """The bodies of a module's classes; none where its source is not at hand."""
    try:
        tree = ast.parse(inspect.getsource(sys.modules[module]))
    except OSError:
        return {}
    return {node.name: node.body for node in tree.body if isinstance(node, ast.ClassDef)}
