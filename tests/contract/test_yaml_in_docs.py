"""Every YAML block in the documentation is a pipeline, a section or a part of one, with known keys only."""

from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from page_blocks import all_blocks

import slicecache
from cache_schema.cluster.site import Site
from cache_schema.common.lazy_names import imported
from cache_schema.words.schema import pipeline_schema

SECTIONS = {name: imported(place) for name, place in slicecache.SECTION_MODELS.items()}
GAP = "..."
"""Stands in a block for what is left out."""


def blocks() -> list[Any]:
    """Each block with its page and line."""
    return [pytest.param(block.text, id=str(block)) for block in all_blocks() if block.language == "yaml"]


def without_gaps(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_gaps(item) for key, item in value.items() if key != GAP}
    return [without_gaps(item) for item in value if item != GAP] if isinstance(value, list) else value


def without_required(schema: Any) -> Any:
    """A schema that takes a part of what it describes."""
    if isinstance(schema, dict):
        kept = {key: item for key, item in schema.items() if key != "required" or isinstance(item, dict)}
        return {key: without_required(item) for key, item in kept.items()}
    return [without_required(item) for item in schema] if isinstance(schema, list) else schema


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    made: dict[str, Any] = without_required(pipeline_schema(SECTIONS))
    return made


def whose(data: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of the pipeline, of the section or of the part that has these keys.

    Two programs of one name may be meant: the first that takes it is.
    """
    parts = [made for made in schema["$defs"].values() if data.keys() <= made.get("properties", {}).keys()]
    whole = [schema] if data.keys() <= schema["properties"].keys() else []
    fit = [{**part, "$defs": schema["$defs"]} for part in [*whole, *parts]]
    taken = [part for part in fit if Draft202012Validator(part).is_valid(data)]
    return next(iter([*taken, *fit, schema]))


def test_there_are_blocks():
    assert len(blocks()) > 20


@pytest.mark.parametrize("text", blocks())
def test_it_is_taken(text, schema):
    lines = [line for line in text.split("\n") if line.strip() != GAP]
    found = without_gaps(yaml.safe_load("\n".join(lines)))
    for data in found if isinstance(found, list) else [found]:
        if data.keys() <= Site.model_fields.keys():
            Site.model_validate(data)
            continue
        errors = Draft202012Validator(whose(data, schema)).iter_errors(data)
        assert [f"{error.json_path}: {error.message}" for error in errors] == []


def test_a_misspelt_key_would_be_seen(schema):
    data = {"aggregate": {"cohort": "t.csv", "folds": {"repeat": 2}}}
    assert not Draft202012Validator(whose(data, schema)).is_valid(data)
