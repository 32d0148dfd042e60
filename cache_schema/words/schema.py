"""A JSON schema of pipeline files, made from the models: editors complete and check by it.

It takes what the models take, short forms too (`train: auto`), and knows the words and an example of every
field. What a model only finds by looking at several keys it leaves to the model.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema
from pydantic_core import PydanticUndefined, core_schema

from cache_schema.common.short_forms import ONE, short_forms
from cache_schema.words.examples import default_of, example
from cache_schema.words.field_words import description, summary

DIALECT = "https://json-schema.org/draft/2020-12/schema"
Sections = Mapping[str, type[BaseModel]]
"""Section of a pipeline file -> its model."""


def pipeline_schema(sections: Sections) -> dict[str, Any]:
    """The schema of a pipeline file.

    Args:
        sections: By name, in the file's order.
    """
    wanted = [(model, "validation") for model in sections.values()]
    places, definitions = models_json_schema(wanted, schema_generator=WithWords)  # type: ignore[arg-type]
    own = {
        name: {**places[model, "validation"], "description": summary(model)}
        for name, model in sections.items()
    }
    return {
        "$schema": DIALECT,
        "title": "slicecache pipeline",
        "type": "object",
        "properties": own,
        "additionalProperties": False,
        **definitions,
    }


class WithWords(GenerateJsonSchema):
    """pydantic's, with what stands below the fields, and with short forms."""

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        """A model, each of its fields with description, default and example."""
        made, model = super().model_schema(schema), schema["cls"]
        made["description"] = summary(model)
        for name, place in made.get("properties", {}).items():
            place.pop("title", None)
            place.pop("default", None)
            place["description"] = description(model, name)
            default = default_of(model, name)
            if default is not PydanticUndefined:
                place["default"] = default
            place["examples"] = [example(model, name)]
        return made

    def function_before_schema(self, schema: core_schema.BeforeValidatorFunctionSchema) -> JsonSchemaValue:
        """Of a value that a function reads first."""
        return _with_short_forms(super().function_before_schema(schema), schema)

    def function_wrap_schema(self, schema: core_schema.WrapValidatorFunctionSchema) -> JsonSchemaValue:
        """Of a value that a function reads around the rest."""
        return _with_short_forms(super().function_wrap_schema(schema), schema)

    def tagged_union_schema(self, schema: core_schema.TaggedUnionSchema) -> JsonSchemaValue:
        """By a key that must be there; a function that tells members apart may do without."""
        made = super().tagged_union_schema(schema)
        told_by = schema["discriminator"]
        if isinstance(told_by, str):
            return {**made, "required": [told_by]}
        return {"anyOf": made["oneOf"]}


def _with_short_forms(long: JsonSchemaValue, schema: Any) -> JsonSchemaValue:
    """What a function makes of a value, or takes as it is."""
    forms = short_forms(schema["function"]["function"])
    if not forms:
        return long
    return {"anyOf": [long, *(_items(long) if form is ONE else form for form in forms)]}


def _items(long: JsonSchemaValue) -> JsonSchemaValue:
    """What one item of a list may be."""
    lists = [part for part in (long, *long.get("anyOf", ())) if part.get("type") == "array"]
    return dict(lists[0].get("items", {}))
