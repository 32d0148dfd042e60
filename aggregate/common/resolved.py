"""The parts of a pipeline that stage two does not own, with paths made absolute, for `config.yaml`."""

import os
from pathlib import Path
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


def image_root(pipeline: Pipeline) -> Path | None:
    """The input root of stage one, if the pipeline names one that is there."""
    extract = pipeline.data.get("extract")
    given = extract.get("input") if isinstance(extract, dict) else None
    root = given.get("bids") if isinstance(given, dict) else None
    if root is None:
        return None
    path = pipeline.path(root)
    return path if os.path.isdir(path) else None


def picture_root(pipeline: Pipeline) -> Path | None:
    """What the images' paths in a store's records start from: the BIDS root, or the manifest's folder."""
    extract = pipeline.data.get("extract")
    given = extract.get("input") if isinstance(extract, dict) else None
    manifest = given.get("manifest") if isinstance(given, dict) else None
    return pipeline.path(manifest).parent if isinstance(manifest, str) else image_root(pipeline)
