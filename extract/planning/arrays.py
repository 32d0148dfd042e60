"""The arrays that a section's store will have, from the sizes of its backbone."""

from pathlib import Path

from cache_schema.format.header import ArraySpec
from cache_schema.format.layout import token_arrays
from extract.backbones.backbone import stored_tokens
from extract.backbones.shape import Outline
from extract.planning.config import ExtractSection


def arrays_of(section: ExtractSection, base: Path) -> tuple[tuple[ArraySpec, ...] | None, Outline | None]:
    """The arrays of a store, and the sizes of its backbone; None where only a download would tell."""
    sizes = section.backbone.located(base).outline(section.preprocessing.pixels)
    if sizes is None:
        return None, None
    arrays = token_arrays(
        stored_tokens(section.tokens, sizes.offers),
        dim=sizes.dim,
        heads=sizes.heads,
        grid=sizes.grid,
        dtype=section.storage,
        layers=section.layers,
        registers=sizes.registers,
    )
    return arrays, sizes
