"""What stage two makes of the answers: told by whom the command names."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cache_schema.common.errors import SlicecacheError
from cache_schema.common.lazy_names import imported
from cache_schema.common.pipeline_file import Pipeline
from cache_schema.files.locate import open_objects
from cache_schema.format.identity import VolumeKey
from cache_schema.store.table import read_volume_table

FORESEEN = "slicecache.foreseen"
"""Where the command says, in a context's `meta`, who tells which volumes the labels' table knows."""
POSITIVE = "slicecache.positive"
"""Likewise who tells the positive one of a column's classes, and why."""


def positive_of(meta: Mapping[str, Any], cells: Iterable[str]) -> tuple[str, str] | None:
    """The class that a training would call positive and why; None of other than two classes.

    Args:
        meta: Of the context.
        cells: The column's values.
    """
    if POSITIVE not in meta:
        return None
    try:
        found: tuple[str, str] | None = imported(meta[POSITIVE])(cells)
    except ModuleNotFoundError:  # the extra of stage two is absent: it will say so itself
        return None
    return found


def rows_of(meta: Mapping[str, Any], pipeline: Pipeline) -> str:
    """How many volumes have a row of the labels' table, and if none has what is to be said.

    Args:
        meta: Of the context.
        pipeline: That is to be written.

    Returns:
        Lines for people; none where the volumes or the table cannot be told yet, which `plan` will say.
    """
    if FORESEEN not in meta:
        return ""
    try:
        told = imported(meta[FORESEEN])(pipeline, _keys(pipeline))
    except (ModuleNotFoundError, SlicecacheError):
        return ""
    return "" if told is None else str(told.in_words())


def _keys(pipeline: Pipeline) -> Sequence[VolumeKey]:
    """Of the images, by their names alone, or of the store.

    Raises:
        SlicecacheError: If they cannot be understood.
    """
    if "extract" not in pipeline.data:
        objects = open_objects(pipeline.store())
        return () if objects is None else list(read_volume_table(objects).index)
    from extract.planning.config import ExtractSection
    from extract.sources.find import find_volumes

    candidates, _ = find_volumes(pipeline.section("extract", ExtractSection).input, pipeline.base)
    return [each.key for each in candidates if not each.refusal]
