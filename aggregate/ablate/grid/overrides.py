"""Lay dotted paths over a raw `aggregate` section, as a person who writes them would mean it.

What a configuration says wins over the section. A recipe that it names replaces the section's head and
loss and goes over its `train`; a head of another kind replaces the head altogether, since the options of
one kind mean nothing to another; a bare number for a loss changes that term's weight alone.
"""

import copy
from collections.abc import Mapping
from typing import Any

from aggregate.config.recipes import RECIPES
from aggregate.harmonise.spec import read_harmonise
from aggregate.heads.attention import AttentionSpec
from aggregate.heads.registry import read_head
from cache_schema.common.custom import read_part
from cache_schema.common.errors import ConfigError
from cache_schema.common.text.mistakes import suggest

VARIED = ("head", "loss", "train", "recipe", "tokens", "harmonise", "store")
"""What may differ between configurations; everything else decides who is compared, and is common."""


def overlay(section: Mapping[str, Any], changes: Mapping[str, Any], where: str) -> dict[str, Any]:
    """A raw section with one configuration's changes.

    Args:
        section: Raw `aggregate` section, without `ablate` and `detect`.
        changes: Dotted path -> value; `store` is not in here.
        where: How messages call the configuration.

    Raises:
        ConfigError: If a path's first step cannot be varied, or a later one is no mapping.
    """
    data = copy.deepcopy(dict(section))
    for path in changes:
        check_path(path, where)
    _start_from_recipe(data, changes)
    _spell_out(data)
    kind = changes.get("head.kind")
    if kind is not None and kind != _kind_of(data):
        data["head"] = {}
    # Recipes and kinds are done first, so that the order in which paths are written does not matter.
    for path in sorted(changes, key=lambda path: (path.count("."), path)):
        _put(data, path, copy.deepcopy(changes[path]), where)
    if isinstance(data.get("head"), dict) and data.get("recipe") is None:
        data["head"] = {"kind": _kind_of(data), **data["head"]}
    return data


def _spell_out(data: dict[str, Any]) -> None:
    """Write a head's bare name, and objects of Python's, as mappings, so that paths reach into it."""
    if "head" in data:
        data["head"] = read_head(data["head"])
    if "harmonise" in data:
        data["harmonise"] = read_harmonise(data["harmonise"])
    if isinstance(data.get("loss"), Mapping):
        data["loss"] = {name: read_part(term) for name, term in data["loss"].items()}


def check_path(path: str, where: str) -> None:
    """Refuse a path that decides who is compared, or that is none.

    Raises:
        ConfigError: Naming the nearest one that can be varied.
    """
    first, *rest = path.split(".")
    if first not in VARIED or "" in rest:
        raise ConfigError(
            f"{where}: {path!r} cannot differ between configurations{suggest(first, VARIED)}"
            if first not in VARIED
            else f"{where}: {path!r} is no path; write for example head.kind"
        )
    if rest and first in ("recipe", "tokens", "store"):
        raise ConfigError(f"{where}: {first!r} has no parts, so {path!r} names nothing; write {first!r}")


def _start_from_recipe(data: dict[str, Any], changes: Mapping[str, Any]) -> None:
    """Clear the way for a recipe that the configuration names itself."""
    recipe = changes.get("recipe")
    if not isinstance(recipe, str) or recipe not in RECIPES:
        return  # the section's validation says what is wrong with it
    for part in ("head", "loss"):
        data.pop(part, None)
    train = data.get("train") or {}
    if isinstance(train, Mapping):
        data["train"] = {**train, **RECIPES[recipe]["train"]}


def _kind_of(data: Mapping[str, Any]) -> Any:
    """The kind of head that a raw section has."""
    head = data.get("head")
    if isinstance(head, Mapping) and "kind" in head:
        return head["kind"]
    recipe = RECIPES.get(str(data.get("recipe")))
    return recipe["head"]["kind"] if recipe else AttentionSpec().kind


def _put(data: dict[str, Any], path: str, value: Any, where: str) -> None:
    """Set one value in place."""
    *steps, last = path.split(".")
    node = data
    for depth, step in enumerate(steps):
        child = node.get(step)
        if child is None:
            child = {}
        elif depth == 1 and steps[0] == "loss" and not isinstance(child, Mapping):
            child = {"weight": child}
        if not isinstance(child, Mapping):
            raise ConfigError(f"{where}: {path!r} goes through {step!r}, which is {child!r} and no section")
        node[step] = dict(child)
        node = node[step]
    old = node.get(last)
    if steps == ["loss"] and isinstance(old, Mapping) and not isinstance(value, Mapping):
        value = {**old, "weight": value}
    node[last] = read_head(value) if path == "head" else value
