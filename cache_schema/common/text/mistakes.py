"""What is wrong with a value that a model refused, in the words of whoever wrote it.

A clause names the path as it was written (`aggregate.head.kind`, without the branches that a validator
tried), what is expected there, and what was found.
"""

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import core_schema

from cache_schema.common.one_line import printable
from cache_schema.common.text.places import KIND, Place, fields_below, find_place, kinds_of

LONGEST_SHOWN = 80
"""Characters of a value in a sentence."""
LONGEST_CLAUSE = 700

EXPECTED = {
    "int_type": "a whole number", "int_parsing": "a whole number", "int_from_float": "a whole number",
    "int_parsing_size": "a smaller number", "float_type": "a number", "float_parsing": "a number",
    "finite_number": "a finite number", "bool_type": "true or false", "bool_parsing": "true or false",
    "string_type": "text (quotes make it text)", "string_unicode": "text", "list_type": "a list",
    "tuple_type": "a list", "dict_type": "a mapping", "mapping_type": "a mapping", "model_type": "a mapping",
    "model_attributes_type": "a mapping", "dataclass_type": "a mapping", "path_type": "a path",
    "none_required": "nothing", "invalid_key": "text as a key",
    "greater_than": "a number above {gt}", "greater_than_equal": "a number of at least {ge}",
    "less_than": "a number below {lt}", "less_than_equal": "a number of at most {le}",
    "too_short": "a list of at least {min_length}", "too_long": "a list of at most {max_length}",
    "string_too_short": "a text of at least {min_length} characters",
    "string_too_long": "a text of at most {max_length} characters",
    "string_pattern_mismatch": "a text of the form {pattern}", "literal_error": "{expected}",
    "json_invalid": "valid JSON",
    "union_tag_not_found": "a mapping", "union_tag_invalid": "a mapping",
}  # fmt: skip
"""Kind of problem -> what belongs there, with the numbers of the rule."""

Problem = Mapping[str, Any]
"""One of pydantic's."""

THEIRS = {*get_args(core_schema.ErrorType), *EXPECTED} - {"value_error", "assertion_error"}
"""Kinds of problems whose text is pydantic's own; any other is a sentence of ours."""


def mistakes(error: ValidationError, model: type[BaseModel], value: Any, where: str) -> list[str]:
    """A clause for every place where something is wrong, unknown keys first.

    Args:
        error: Of validating the value.
        model: That refused it.
        value: As it was written.
        where: What the value is called, e.g. `aggregate`.
    """
    places: dict[tuple[str, ...], list[tuple[Problem, Place]]] = {}
    for problem in error.errors(include_url=False):
        place = find_place(model, value, problem["loc"], problem["type"])
        places.setdefault(place.path, []).append((problem, place))
    # Of a union's branches the one that got furthest is what was meant.
    inner = [path for path in places if not any(path != p and p[: len(path)] == path for p in places)]
    # An unknown key first: what is missing may only be misspelt.
    inner.sort(key=lambda path: places[path][0][0]["type"] != "extra_forbidden")
    return [_clause(model, where, path, places[path]) for path in inner]


def _clause(
    model: type[BaseModel], where: str, path: tuple[str, ...], found: list[tuple[Problem, Place]]
) -> str:
    """All that is wrong at one place."""
    name = ".".join([where, *map(step, path)])
    problem, place = found[0]
    match problem["type"]:
        case "extra_forbidden":
            text = f"unknown key {name}{_nearest_key(model, where, path[-1], place)}"
        case "missing":
            text = f"{name} is missing"
        case _:
            text = f"{name}{_wrong(problem, place) if len(found) == 1 else _united(found)}"
    return printable(text[:LONGEST_CLAUSE])


def _wrong(problem: Problem, place: Place) -> str:
    """A wrong value, from the colon on."""
    given = problem["input"]
    if problem["type"] == "union_tag_not_found":
        return f".{KIND} is missing; it is one of {', '.join(kinds_of(place.models))}"
    if problem["type"] == "union_tag_invalid":
        kinds = re.findall("'([^']*)'", problem["ctx"]["expected_tags"])
        kind = given.get(KIND) if isinstance(given, Mapping) else problem["ctx"]["tag"]
        return f".{KIND}: there is no {shown(kind)}{suggest(str(kind), kinds)}"
    if problem["type"] == "model_attributes_type" and len(kinds := kinds_of(place.models)) > 1:
        hint = suggest(given, kinds) if isinstance(given, str) else f"; known are {', '.join(kinds)}"
        return f": a mapping with {KIND} is expected, not {shown(given)}{hint}"
    if problem["type"] in THEIRS:
        return f": {expectation(problem)} is expected, not {shown(given)}{_near_choice(problem)}"
    message = str(problem["msg"]).removeprefix("Value error, ").removeprefix("Assertion failed, ")
    # A rule about a whole section has said what is wrong; the section itself would only bury it.
    return f": {message}" if isinstance(given, Mapping) else f": {message}, not {shown(given)}"


def _united(found: Sequence[tuple[Problem, Place]]) -> str:
    """What any of a union's branches would have taken."""
    if isinstance(found[0][0]["input"], Mapping):  # the branch that takes one knows what is wrong in it
        for problem, place in found:
            if problem["type"] in ("union_tag_not_found", "union_tag_invalid"):
                return _wrong(problem, place)
    wanted = dict.fromkeys(expectation(problem) for problem, _ in found)
    return f": {' or '.join(wanted)} is expected, not {shown(found[0][0]['input'])}"


def expectation(problem: Problem) -> str:
    """What belongs where a problem is."""
    if problem["type"] not in THEIRS:
        return str(problem["msg"]).removeprefix("Value error, ")
    rule = {name: f"{v:g}" if isinstance(v, float) else v for name, v in problem.get("ctx", {}).items()}
    return EXPECTED.get(problem["type"], "another value").format(**rule)


def _near_choice(problem: Problem) -> str:
    """The choice that was nearly written."""
    if problem["type"] != "literal_error" or not isinstance(problem["input"], str):
        return ""
    choices = re.findall("'([^']*)'", problem["ctx"]["expected"])
    near = difflib.get_close_matches(problem["input"][:LONGEST_SHOWN], choices, n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else ""


def _nearest_key(model: type[BaseModel], where: str, key: str, place: Place) -> str:
    """The key that was meant: nearly this one here, this one elsewhere, or what there is."""
    known = sorted({name for member in place.models for name in member.model_fields})
    if difflib.get_close_matches(key[:LONGEST_SHOWN], known, n=1, cutoff=0.7):
        return suggest(key, known)
    if (elsewhere := next((path for path in fields_below(model) if path[-1] == key), None)) is not None:
        return f"; it belongs to {'.'.join([where, *elsewhere[:-1]])}"
    return suggest(key, known)


def suggest(key: str, known: Sequence[str]) -> str:
    """`; did you mean ...?` with the nearest known key, or the list when none is near."""
    near = difflib.get_close_matches(key[:LONGEST_SHOWN], known, n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(known)}"


def shown(value: Any) -> str:
    """A value as a sentence shows it: with its quotes, and cut where it is long."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # whole numbers of thousands of digits, and endless nesting
        text = f"{type(value).__name__} too large to show"
    return text if len(text) <= LONGEST_SHOWN else f"{text[: LONGEST_SHOWN - 3]}..."


def step(part: str) -> str:
    """One step of a path; quoted where it is not a plain word."""
    return part if re.fullmatch(r"[\w.\-]{1,60}", part) else shown(part)
