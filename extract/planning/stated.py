"""`canvas: model`: the canvas that a checkpoint's own processor states, put in the word's place.

It is done before anything is planned, so that all behind it, and the store's fingerprint, see a canvas as if
the pipeline had spelt it out.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from cache_schema.common.errors import ConfigError
from cache_schema.common.pipeline_file import validate
from extract.planning.config import AskedStore, EmbeddingOptions
from extract.slices.preprocessing import StepOverrides

Options = TypeVar("Options", bound=EmbeddingOptions)
SPELL_IT = "set extract.canvas to one that is spelt out, e.g. {kind: stretch, pixels: 224}"


def each_with_stated_canvas(
    asked: Sequence[AskedStore], base: Path, fetch: bool = True
) -> tuple[AskedStore, ...]:
    """The stores of a run, each as `with_stated_canvas`."""
    return tuple(replace(each, section=with_stated_canvas(each.section, base, fetch)) for each in asked)


def with_stated_canvas(options: Options, base: Path, fetch: bool = True) -> Options:
    """The options with the canvas that the checkpoint states, where they ask for it.

    Args:
        options: How volumes are embedded.
        base: Folder that relative paths start from.
        fetch: Whether weights may be fetched that are not here, unless the options forbid it.

    Raises:
        ConfigError: If the checkpoint cannot be had, or states no canvas that can be fed.
    """
    if options.canvas != "model":
        return options
    backbone = options.backbone.located(base)
    if not fetch and (lacks := backbone.missing()) is not None:
        raise ConfigError(f"extract.canvas: model stands in the checkpoint, and {lacks}")
    stated, source = backbone.processor(options.offline or not fetch), backbone.source()
    if stated is None:
        raise ConfigError(
            "extract.canvas: model needs a backbone whose checkpoint states its input, in a "
            f"preprocessor_config.json, and {source} does not: {SPELL_IT}"
        )
    if stated.canvas is None:
        raise ConfigError(
            f"extract.canvas: model cannot be what the processor of {source} states, because "
            f"{stated.why_not}: {SPELL_IT}"
        )
    found = validate(StepOverrides, {"canvas": dict(stated.canvas)}, f"the processor of {source}")
    return options.model_copy(update={"canvas": found.canvas})
