"""The pipeline as it was understood: defaults filled in, paths absolute, so that it runs again as it is."""

from collections.abc import Mapping
from typing import Any

from aggregate.cohort.table.stack import located_tables, said_tables
from aggregate.common.resolved import resolved_stage_one
from aggregate.config.recipes import PARTS, RECIPES
from aggregate.config.section import AggregateKeys
from cache_schema.common.pipeline_file import Pipeline


def resolved(pipeline: Pipeline, section: AggregateKeys) -> dict[str, Any]:
    """The content of `config.yaml`."""
    cohort = said_tables(located_tables(section.cohort, pipeline.path))
    join = section.join.located(pipeline.path).model_dump(mode="json")
    stores = {name: pipeline.location(value) for name, value in section.stores.items()}
    own = {**section.model_dump(mode="json"), "cohort": cohort, "join": join, "stores": stores}
    if section.recipe is not None:
        own |= {
            part: _said(own[part], RECIPES[section.recipe][part], getattr(section, part)) for part in PARTS
        }
    if section.external is not None:
        own["external"] = section.external.placed(pipeline).model_dump(mode="json")
    return {**resolved_stage_one(pipeline), "aggregate": own}


def _said(dumped: dict[str, Any], recipe: Mapping[str, Any], spec: Any) -> dict[str, Any]:
    """A part with all that its recipe sets: what is usual goes unsaid, and would be the recipe's again."""
    hidden = [key for key in recipe if key not in dumped and hasattr(spec, key)]
    return {**dumped, **{key: getattr(spec, key) for key in hidden}}
