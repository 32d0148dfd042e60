"""One small picture per volume: slices exactly as the backbone got them, sides burnt in."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from cache_schema.format.record import Geometry, VolumeDraft

TILES = 12
TILE_COLUMNS = 6
TILE = 112
"""Pixels along a tile."""


def mosaic(shown: NDArray[np.float32], draft: VolumeDraft, span: tuple[float, float] = (0.0, 1.0)) -> bytes:
    """PNG of up to twelve slices spread evenly from top to bottom.

    Args:
        shown: Grey values `(tile, height, width)` on the canvas of the slices that `spread_tiles` chooses.
        draft: Says the heights and which side of the participant column 0 shows.
        span: Grey values that are shown as black and as white.
    """
    heights = draft.slices.height_mm
    chosen = list(zip(spread_tiles(len(heights)), shown, strict=True))[::-1]
    columns = min(TILE_COLUMNS, len(chosen))
    rows = -(-len(chosen) // columns)
    sheet = Image.new("L", (columns * TILE, rows * TILE))
    first, last = column_sides(draft.geometry)
    for place, (index, image) in enumerate(chosen):
        seen = (image - span[0]) / (span[1] - span[0])
        tile = draw_tile(seen, first, last, f"{heights[index]:.0f} mm")
        sheet.paste(tile, (place % columns * TILE, place // columns * TILE))
    out = io.BytesIO()
    sheet.save(out, "PNG", optimize=True)
    return out.getvalue()


def spread_tiles(count: int) -> list[int]:
    """Indices of up to `TILES` slices, evenly spread, without repeats."""
    tiles = min(TILES, count)
    return [int((place + 0.5) * count / tiles) for place in range(tiles)]


def draw_tile(image: NDArray[np.float32], first: str, last: str, height: str) -> Image.Image:
    """One slice, reduced by area, with the letters of its two sides and its height."""
    grey = np.round(np.clip(image, 0.0, 1.0) * 255).astype(np.uint8)
    # The longer side fills the tile: what is squeezed here was squeezed for the backbone too.
    scale = TILE / max(grey.shape)
    size = (max(1, round(grey.shape[1] * scale)), max(1, round(grey.shape[0] * scale)))
    tile = Image.new("L", (TILE, TILE))
    small = Image.fromarray(grey).resize(size, Image.Resampling.BOX)
    tile.paste(small, ((TILE - size[0]) // 2, (TILE - size[1]) // 2))
    draw = ImageDraw.Draw(tile)
    draw.text((2, TILE // 2 - 6), first, fill=255)
    draw.text((TILE - 8, TILE // 2 - 6), last, fill=255)
    draw.text((2, TILE - 12), height, fill=160)
    return tile


def column_sides(geometry: Geometry) -> tuple[str, str]:
    """Letters at column 0 and at the last column, from where the columns run in the world.

    Empty when the file does not say its orientation: a guessed side is worse than none.
    """
    if geometry.orientation == "unknown":
        return "", ""
    step = np.asarray(geometry.affine)[:3, :3] @ np.asarray(geometry.canvas_to_native)[:3, 1]
    axis = int(np.argmax(np.abs(step)))
    low, high = (("L", "R"), ("P", "A"), ("I", "S"))[axis]
    return (low, high) if step[axis] > 0 else (high, low)
