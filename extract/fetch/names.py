"""What `backbone fetch` is told: a pipeline file, a listed name, or a repository.

slicecache backbone fetch pipeline.yaml
slicecache backbone fetch dinov2/small
slicecache backbone fetch dinov2/OWNER/NAME@REVISION
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from cache_schema.common.errors import ConfigError
from cache_schema.common.pipeline_file import load_pipeline
from cache_schema.common.text.mistakes import suggest
from extract.backbones.backbone import NamedBackbone
from extract.backbones.checkpoint.hub import HubSource
from extract.backbones.registry import KINDS
from extract.backbones.shape import Sizes

PIPELINES = (".yaml", ".yml")


@dataclass(frozen=True, slots=True)
class Wanted:
    """A backbone, and where its lock is written when nobody says it."""

    spec: NamedBackbone
    lock: Path
    store: str = ""
    """Of several in a pipeline file, the first that wants it."""


def listed() -> Iterator[tuple[str, NamedBackbone, Sizes]]:
    """Every backbone that has a name of its own, with its sizes."""
    for kind in get_args(KINDS):
        for name, (spec, shape) in kind.listed().items():
            yield name, spec, shape


def wanted(name: str, overrides: Sequence[str]) -> tuple[Wanted, ...]:
    """The backbone that is meant, or all those of a pipeline's stores.

    Raises:
        ConfigError: If the pipeline is wrong, or there is no such backbone.
    """
    path = Path(name)
    if path.suffix in PIPELINES or path.is_file():
        return _of_pipeline(path, overrides)
    if overrides:
        raise ConfigError(f"--set is for a pipeline file, and {name!r} is the name of a backbone")
    spec = next((spec for other, spec, _ in listed() if other == name), None) or _of_repository(name)
    if spec is None:
        known = [other for other, _, _ in listed()]
        raise ConfigError(
            f"there is no backbone {name!r}{suggest(name, known)}; give a pipeline file, a name from "
            "`slicecache backbone list`, or a repository, e.g. dinov2/OWNER/NAME@REVISION"
        )
    return (Wanted(spec, Path(f"{name.partition('@')[0].replace('/', '-')}.lock.json")),)


def wanted_one(name: str) -> NamedBackbone:
    """The one backbone that is meant.

    Raises:
        ConfigError: As `wanted`, and where a pipeline's stores name several.
    """
    first, *others = wanted(name, ())
    if others:
        each = ", ".join(f"{found.store}: {found.spec.source()}" for found in (first, *others))
        raise ConfigError(f"the stores of {name!r} name several backbones ({each}): name one of them")
    return first.spec


def _of_pipeline(path: Path, overrides: Sequence[str]) -> tuple[Wanted, ...]:
    """Each backbone of a pipeline file once, with its lock where the file says, or beside it.

    Beside it is `NAME.lock.json`, and `NAME-STORE.lock.json` where there are several.
    """
    from extract.planning.config import ExtractSection, asked_stores

    pipeline = load_pipeline(path, overrides)
    section = pipeline.section("extract", ExtractSection)
    found: list[tuple[str, NamedBackbone]] = []
    for each in asked_stores(pipeline, section):
        spec = each.section.backbone.located(pipeline.base)
        if spec not in (other for _, other in found):
            found.append((each.name, spec))
    several = len(found) > 1
    return tuple(
        Wanted(
            spec,
            spec.lock_file or path.with_name(f"{path.stem}{f'-{name}' if several else ''}.lock.json"),
            name if several else "",
        )
        for name, spec in found
    )


def _of_repository(name: str) -> NamedBackbone | None:
    """`dinov2/OWNER/NAME@REVISION`."""
    kind, _, rest = name.partition("/")
    repository, _, revision = rest.partition("@")
    if repository.count("/") != 1 or not all(repository.split("/")):
        return None
    source = HubSource(repository, revision or None)
    found: Iterator[NamedBackbone | None] = (each.of_repository(kind, source) for each in get_args(KINDS))
    return next((spec for spec in found if spec is not None), None)
