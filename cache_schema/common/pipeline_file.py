"""How a pipeline file is read: strict sections, overrides, paths relative to the file, helpful errors."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, Field, ValidationError

from cache_schema.common.custom import permit_targets
from cache_schema.common.errors import ConfigError
from cache_schema.common.one_line import printable
from cache_schema.common.prove import Prove
from cache_schema.common.strict import Strict
from cache_schema.common.text.mistakes import mistakes, shown, suggest
from cache_schema.common.text.yaml_text import DEEPEST, parse_yaml, read_yaml

SECTIONS = ("run", "cache", "extract", "aggregate")

MAIN = "main"
"""What the store at `cache.store` is called where nothing else is said."""

M = TypeVar("M", bound=BaseModel)


class RunSection(Strict):
    """Where a run leaves what it made."""

    folder: Path
    """Each verb leaves its results in a folder of its own in this one, e.g. `runs/adni`."""


class CacheSection(Strict):
    """Which store is written and read."""

    store: str
    """A folder, a zip, an `.h5` or a URL, e.g. `runs/adni/cache.zarr`."""
    stores: dict[str, str] = Field(default_factory=dict)
    """Where further ones of `extract.stores` lie, by name; by default beside `store`, `cache-dpmm.zarr`, e.g.
    `{dpmm: runs/adni/cache-dpmm.zarr}`."""
    prove: Prove = "crc32c"
    """What its numbers are held to when they are read."""


class Pipeline:
    """One pipeline file with its overrides applied; each stage validates its own section."""

    def __init__(self, data: dict[str, Any], base: Path) -> None:
        """Hold raw sections; `base` is the folder that relative paths start from."""
        self.data = data
        self.base = base
        check_keys(data, SECTIONS, "the pipeline")

    def section(self, name: str, model: type[M]) -> M:
        """Validate one section.

        Raises:
            ConfigError: If it is absent, has an unknown key, or a value of the wrong kind.
        """
        if name not in self.data:
            raise ConfigError(f"the pipeline has no section {name!r}; it needs {', '.join(SECTIONS)}")
        return validate(model, self.data[name], name)

    def path(self, value: str | Path) -> Path:
        """A path of the file, relative to the file's folder unless absolute."""
        return Path(os.path.normpath(self.base / os.path.expanduser(value)))

    def store(self) -> str:
        """The store's location, with local paths made relative to the file's folder."""
        return self.location(self.section("cache", CacheSection).store)

    def stores(self) -> dict[str, str]:
        """Location of every store of this pipeline by its name, in the file's order.

        One lies at `cache.store`: `main`, or the first of `extract.stores` where none is called so. The
        others lie where `cache.stores` says, or beside it under its name and theirs.

        Raises:
            ConfigError: If `cache.stores` names one that `extract.stores` does not, or two lie in one place.
        """
        own, cache = self.store(), self.section("cache", CacheSection)
        given = {name: self.location(value) for name, value in cache.stores.items()}
        if given.get(MAIN, own) != own:
            raise ConfigError(
                f"cache.stores.{MAIN} is {given[MAIN]!r}, and {MAIN} lies at cache.store, {own!r}"
            )
        asked = _names(self.data.get("extract"))
        if asked:
            check_keys(given, asked, "cache.stores")
        names = dict.fromkeys(asked or (MAIN, *given))
        first = MAIN if MAIN in names else next(iter(names))
        found = {name: given.get(name, own if name == first else beside(own, name)) for name in names}
        refuse_one_place(found)
        return found

    def location(self, value: str) -> str:
        """A store's location as the file writes it: a URL, or a path relative to the file's folder."""
        return value if "://" in value else str(self.path(value))

    def prove(self) -> Prove:
        """What numbers of stores are held to when they are read."""
        return self.section("cache", CacheSection).prove if "cache" in self.data else "crc32c"

    def folder(self) -> Path:
        """The run folder.

        Raises:
            ConfigError: If it is a URL.
        """
        value = self.section("run", RunSection).folder
        if value.parts[:1] and value.parts[0].endswith(":"):  # of two slashes one is left
            raise ConfigError(f"run.folder {str(value)!r} is a URL; results are written to a folder")
        return self.path(value)


def beside(location: str, name: str) -> str:
    """Where a further store lies: `runs/cache.zarr` and `dpmm` give `runs/cache-dpmm.zarr`."""
    folder, slash, last = location.rstrip("/").rpartition("/")
    stem, _, ending = last.rpartition(".")
    return f"{folder}{slash}{stem}-{name}.{ending}" if stem else f"{folder}{slash}{last}-{name}"


def refuse_one_place(stores: Mapping[str, str]) -> None:
    """Two stores in one place would be one store of two fingerprints.

    Raises:
        ConfigError: Naming both.
    """
    names: dict[str, str] = {}
    for name, location in stores.items():
        other = names.setdefault(location, name)
        if other != name:
            raise ConfigError(
                f"the stores {other!r} and {name!r} lie in one place, {location!r}: see cache.stores"
            )


def _names(extract: Any) -> tuple[str, ...]:
    """What `extract.stores` names, if the section is there and has it."""
    stores = extract.get("stores") if isinstance(extract, dict) else None
    return tuple(map(str, stores)) if isinstance(stores, dict) else ()


def load_pipeline(path: Path, overrides: Sequence[str] = ()) -> Pipeline:
    """Read a YAML file and apply `section.key=value` overrides; custom parts that it names may be imported.

    Raises:
        ConfigError: If the file is absent, is not YAML, is no mapping, or an override is malformed.
    """
    data = read_yaml(path, f"the pipeline {str(path)!r}")
    if not isinstance(data, dict):
        raise ConfigError(f"{str(path)!r} must hold the sections {', '.join(SECTIONS)}")
    for override in overrides:
        apply_override(data, override)
    folder = path.resolve().parent
    permit_targets(data, folder)
    return Pipeline(data, folder)


def apply_override(data: dict[str, Any], override: str) -> None:
    """Set one value in place, e.g. `aggregate.loss.supcon=0.5`; the value is read as YAML.

    Raises:
        ConfigError: If there is no `=`, the value is not YAML, or a step of the path is not a mapping.
    """
    name, equals, text = override.partition("=")
    *steps, last = name.split(".")
    if not equals or not all([*steps, last]) or len(steps) > DEEPEST:
        raise ConfigError(f"--set takes NAME=VALUE, e.g. aggregate.loss.supcon=0.5, not {shown(override)}")
    value = parse_yaml(text, f"--set {printable(name)}: {shown(text)}")
    node = data
    for step in steps:
        child = node.setdefault(step, {})
        if not isinstance(child, dict):
            raise ConfigError(f"--set {printable(name)}: {step!r} is {shown(child)}, not a section")
        node = child
    node[last] = value


def validate(model: type[M], value: Any, where: str) -> M:
    """Validate a value against a model; errors are one sentence that names the place.

    Raises:
        ConfigError: With the first two problems, and the nearest known key for an unknown one.
    """
    try:
        return model.model_validate(value)
    except ValidationError as error:
        problems = mistakes(error, model, value, where)
        more = f" (and {len(problems) - 2} more)" if len(problems) > 2 else ""
        raise ConfigError("; ".join(problems[:2]) + more) from None


def check_keys(data: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    """Refuse a mapping with a key that is not known.

    Raises:
        ConfigError: Naming the key and the nearest known one.
    """
    for key in data:
        if key not in known:
            raise ConfigError(f"unknown key {shown(key)} in {where}{suggest(str(key), known)}")
