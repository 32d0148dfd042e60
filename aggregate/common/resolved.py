"""The parts of a pipeline that stage two does not own, with paths made absolute, for `config.yaml`."""

from typing import Any

from cache_schema.common.pipeline_file import MAIN, Pipeline


def resolved_stage_one(pipeline: Pipeline) -> dict[str, Any]:
    """Sections `run`, `cache` and, if it is there, `extract`."""
    data: dict[str, Any] = {
        "run": {"folder": str(pipeline.folder())},
        "cache": resolved_cache(pipeline),
    }
    if "extract" in pipeline.data:
        data["extract"] = {**pipeline.data["extract"], "input": absolute_input(pipeline)}
    return data


def resolved_cache(pipeline: Pipeline) -> dict[str, Any]:
    """Section `cache`, with every further store at its place."""
    others = {name: location for name, location in pipeline.stores().items() if name != MAIN}
    return {"store": pipeline.store(), **({"stores": others} if others else {})}


def absolute_input(pipeline: Pipeline) -> dict[str, Any]:
    """The input of stage one with its root or manifest made absolute."""
    given = dict(pipeline.data["extract"].get("input") or {})
    found = {
        key: str(pipeline.path(value)) if key in ("bids", "manifest") else value
        for key, value in given.items()
    }
    if isinstance(files := found.get("files"), list):
        found["files"] = [str(pipeline.path(file)) for file in files]
    if isinstance(masks := found.get("masks"), dict) and "derivatives" in masks:
        found["masks"] = {**masks, "derivatives": str(pipeline.path(masks["derivatives"]))}
    return found
