"""What may stand somewhere, in words, from its JSON schema."""

from collections.abc import Callable, Mapping
from typing import Any

from cache_schema.words.yaml_words import in_line

Linked = Callable[[str], str]
"""What stands for a model, by the name of its definition."""

NAMES = {
    "string": "text", "integer": "whole number", "number": "number", "boolean": "`true` or `false`",
    "null": "`null`", "object": "mapping", "array": "list",
}  # fmt: skip
BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
LIST = "list of "


def type_words(place: Mapping[str, Any], linked: Linked) -> str:
    """Words for a JSON schema.

    Args:
        place: Of one key.
        linked: Says what stands for a model.
    """
    words: dict[str, None] = {}
    items: dict[str, set[str]] = {}
    for each in _alternatives(place):
        word = _one(each, linked)
        words[word] = None
        if word.startswith(LIST) and "items" in each:
            items[word] = {_one(item, linked) for item in _alternatives(each["items"])}
    # What may be null is so by default, and says so there.
    if len(words) > 1:
        words.pop(NAMES["null"], None)
    return _one_or_many(list(words), items)


def _one_or_many(words: list[str], items: Mapping[str, set[str]]) -> str:
    """Alternatives; what may stand there alone or in a list is said once."""
    several = [word for word in words if items.get(word, {""}) <= set(words)]
    if not several:
        return " or ".join(words)
    inner = set().union(*(items[word] for word in several))
    rest = [word for word in words if word not in inner and word not in several]
    same = " or ".join(word for word in words if word in inner)
    return " or ".join([*rest, f"{same}, or a list of such"])


def _alternatives(place: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The members of unions, through unions of unions."""
    inner = [*place.get("anyOf", ()), *place.get("oneOf", ())]
    return [each for part in inner for each in _alternatives(part)] if inner else [place]


def _one(place: Mapping[str, Any], linked: Linked) -> str:
    """Words for anything but a union."""
    if "$ref" in place:
        return linked(place["$ref"].rpartition("/")[2])
    if "const" in place:
        return f"`{in_line(place['const'])}`"
    if "enum" in place:
        return ", ".join(f"`{in_line(value)}`" for value in place["enum"])
    kind = place.get("type")
    if isinstance(kind, list):
        return " or ".join(NAMES[each] for each in kind)
    if kind == "array":
        return _list(place, linked)
    if kind == "object" and isinstance(place.get("additionalProperties"), Mapping):
        inner = type_words(place["additionalProperties"], linked)
        return f"mapping of names to {inner}" if inner != "anything" else "mapping"
    if kind == "string" and place.get("format") in ("path", "file-path", "directory-path"):
        return "path"
    if "minimum" in place and "maximum" in place:
        return f"{NAMES[place['type']]} from {place['minimum']:g} to {place['maximum']:g}"
    bounds = [f"{sign} {place[name]:g}" for name, sign in BOUNDS.items() if name in place]
    return " ".join([NAMES.get(kind or "", "anything"), " and ".join(bounds)]).rstrip()


def _list(place: Mapping[str, Any], linked: Linked) -> str:
    """Words for a list."""
    if "prefixItems" in place:
        each = dict.fromkeys(type_words(item, linked) for item in place["prefixItems"])
        return f"list of {len(place['prefixItems'])}: {', '.join(each)}"
    if place.get("maxItems") == 0:
        return "empty list"
    inner = type_words(place.get("items", {}), linked)
    return "list" if inner == "anything" else f"{LIST}{inner}"
