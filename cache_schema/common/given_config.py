"""What Python hands over in place of a pipeline file: a mapping of it, one section alone, or its path."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cache_schema.common.custom import permit_targets
from cache_schema.common.errors import ConfigError
from cache_schema.common.pipeline_file import SECTIONS, Pipeline, load_pipeline

Config = Mapping[str, Any] | str | Path | None
"""A pipeline as a mapping, one of its sections alone, or the path of a pipeline file."""


def given_pipeline(
    config: Config,
    section: str,
    *,
    folder: Path,
    store: Any = None,
    keys: Mapping[str, Any] | None = None,
) -> Pipeline:
    """A pipeline of what Python gave; nothing of the caller's is changed.

    Args:
        config: Paths in a mapping are relative to the working directory, those in a file to the file.
        section: What a mapping is that names no section: `extract` or `aggregate`.
        folder: The run folder, whatever the config says.
        store: Location of the store, or something opened that has one, instead of the config's.
        keys: Of the section, instead of the config's.

    Raises:
        ConfigError: If the config is neither of these, or has an unknown section.
    """
    pipeline = _read(config, section)
    data = {name: _copied(part) for name, part in pipeline.data.items()}
    data["run"] = {"folder": str(folder)}
    if store is not None:
        data["cache"] = {**(data.get("cache") or {}), "store": location_of(store)}
        if hasattr(store, "prove"):
            data["cache"]["prove"] = store.prove
    if keys:
        data[section] = {**(data.get(section) or {}), **keys}
    permit_targets(data, pipeline.base)
    return Pipeline(data, pipeline.base)


def location_of(store: Any) -> str:
    """Where a store lies, independent of the working directory: of a path, a URL, or an open store."""
    text = str(getattr(store, "location", store))
    return text if "://" in text else os.path.abspath(os.path.expanduser(text))


def _read(config: Config, section: str) -> Pipeline:
    """The config as a pipeline."""
    if isinstance(config, str | Path):
        return load_pipeline(Path(config))
    if config is not None and not isinstance(config, Mapping):
        raise ConfigError(
            f"a config is a mapping or the path of a pipeline file, not {type(config).__name__}"
        )
    given = dict(config or {})
    whole = any(name in SECTIONS for name in given)
    return Pipeline(given if whole else {section: given}, Path.cwd())


def _copied(part: Any) -> Any:
    """Mappings and lists anew; custom parts, which are objects, as they are."""
    if isinstance(part, Mapping):
        return {key: _copied(value) for key, value in part.items()}
    return [_copied(value) for value in part] if isinstance(part, list | tuple) else part
