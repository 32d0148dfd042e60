"""The contract's public names: each resolves, is its own, and says what it is."""

import ast
import inspect
from pathlib import Path

import pytest

import cache_schema


@pytest.mark.parametrize("name", cache_schema.__all__)
def test_every_offered_name_resolves_and_has_a_docstring(name):
    found = getattr(cache_schema, name)
    assert found.__name__ == name
    assert found.__module__.startswith("cache_schema.")
    assert len(inspect.getdoc(found).split()) > 2
    assert name in dir(cache_schema)


def test_type_checkers_see_exactly_what_is_offered():
    """The names under TYPE_CHECKING are those of the lazy table, from the same modules."""
    tree = ast.parse(Path(cache_schema.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    shown = {alias.asname: node.module for node in block.body for alias in node.names}
    assert shown == {name: place.split(":")[0] for name, place in cache_schema._PLACES.items()}


def test_no_offered_name_is_that_of_a_room():
    rooms = {path.name for path in Path(cache_schema.__file__).parent.iterdir()}
    assert not rooms & set(cache_schema.__all__)


def test_a_name_that_is_not_offered_is_no_attribute():
    with pytest.raises(AttributeError, match="no attribute 'open_shop'"):
        _ = cache_schema.open_shop
