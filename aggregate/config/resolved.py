"""The pipeline as it was understood: defaults filled in, paths absolute, so that it runs again as it is."""

from typing import Any

from aggregate.common.resolved import resolved_stage_one
from aggregate.config.section import AggregateKeys
from cache_schema.common.pipeline_file import Pipeline


def resolved(pipeline: Pipeline, section: AggregateKeys) -> dict[str, Any]:
    """The content of `config.yaml`."""
    cohort = str(pipeline.path(section.cohort))
    join = section.join.located(pipeline.path).model_dump(mode="json")
    stores = {name: pipeline.location(value) for name, value in section.stores.items()}
    own = {**section.model_dump(mode="json"), "cohort": cohort, "join": join, "stores": stores}
    if section.external is not None:
        own["external"] = section.external.placed(pipeline).model_dump(mode="json")
    return {**resolved_stage_one(pipeline), "aggregate": own}
