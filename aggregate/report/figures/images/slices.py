"""A slice of a volume as an `<svg>` in mm: image, map over it, lesion outline, sides, scale bar."""

import base64
import io
from dataclasses import dataclass
from html import escape

import matplotlib
import numpy as np
from contourpy import contour_generator
from markupsafe import Markup
from matplotlib import image
from numpy.typing import NDArray

from aggregate.anomaly.maps.canvas import Sides
from aggregate.report.figures.images.tiles import COLUMNS, OPAQUE, TILE, TILE_COLOURS, shown_slices
from cache_schema.common.terminal.visible import label

BAR_MM = 50
"""Of the scale bar."""
STOPS = 9
"""Colours that a colour bar is made of."""
LETTER = 0.058
"""Height of a letter as a share of the picture: ten pixels where it is shown 172 pixels wide."""
SHADOW = 'paint-order="stroke" stroke="#000" stroke-width="3"'


@dataclass(frozen=True, slots=True)
class SlicePicture:
    """What is drawn of a slice; every array `(row, col)` lies on the canvas."""

    canvas: tuple[int, int]
    pixel_mm: tuple[float, float]
    """Along rows and columns."""
    sides: Sides
    grey: NDArray[np.floating] | None
    """The image from 0 to 1; None where none is at hand."""
    heat: NDArray[np.float32] | None = None
    """The map, in the colours between `low` and `top`."""
    low: float = 0.0
    """Up to here it is clear."""
    top: float = 1.0
    truth: NDArray[np.bool_] | None = None
    """The lesion mask."""
    lettered: bool = False
    """The image has its sides' letters in it."""


def grey_of(values: NDArray[np.float32], quantiles: dict[str, float]) -> NDArray[np.float32]:
    """Native intensities from 0 to 1, between the lowest and the highest quantile that the record has."""
    known = sorted(quantiles.values()) or [float(values.min()), float(values.max())]
    low, high = known[0], known[-1]
    return np.clip((values - low) / (high - low if high > low else 1.0), 0, 1)


def preview_slice(
    preview: bytes | None, count: int, place: int, canvas: tuple[int, int]
) -> NDArray[np.floating] | None:
    """A slice's tile in a store's mosaic; None if that does not hold it, or is laid out otherwise."""
    places = shown_slices(count)
    if preview is None or place not in places:
        return None
    columns = min(COLUMNS, len(places))
    sheet = np.asarray(image.imread(io.BytesIO(preview), format="png"), dtype=np.float64)
    sheet = sheet if sheet.ndim == 2 else sheet[..., :3].mean(axis=2)
    if sheet.shape != (-(-len(places) // columns) * TILE, columns * TILE):
        return None
    down, across = (side * TILE for side in divmod(places.index(place), columns))
    height, width = (max(1, round(pixels * TILE / max(canvas))) for pixels in canvas)
    top, left = down + (TILE - height) // 2, across + (TILE - width) // 2
    return sheet[top : top + height, left : left + width]


def slice_svg(shown: SlicePicture, told: str) -> Markup:
    """The picture.

    Args:
        shown: What is drawn.
        told: What it shows, for those who cannot see it.
    """
    height, width = (pixels * mm for pixels, mm in zip(shown.canvas, shown.pixel_mm, strict=True))
    parts = [f'<rect width="{width:g}" height="{height:g}" fill="#000"/>']
    if shown.grey is not None:
        parts.append(_picture(np.repeat(shown.grey[..., None], 3, axis=2), width, height))
    if shown.heat is not None:
        parts.append(_picture(heat_colours(shown.heat, shown.low, shown.top), width, height, "map"))
    if shown.truth is not None and shown.truth.any():
        outline = _outline(shown.truth, shown.pixel_mm)
        parts.append(f'<path class="truth" d="{outline}" fill="none" stroke="#22d3ee" stroke-width="1.2"/>')
    parts += [*_letters(shown, width, height), *_scale_bar(width, height)]
    alt = escape(label(told, 200))
    size = f'viewBox="0 0 {width:g} {height:g}" width="{2 * width:.0f}" height="{2 * height:.0f}"'
    return Markup(f'<svg role="img" aria-label="{alt}" {size} class="slice">{"".join(parts)}</svg>')


def heat_colours(heat: NDArray[np.floating], low: float, top: float) -> NDArray[np.float64]:
    """Colours with their opacity `(row, col, 4)`; clear up to `low`, the brightest from `top` on."""
    share = np.clip((heat - low) / max(top - low, 1e-12), 0, 1)
    colours = np.asarray(matplotlib.colormaps[TILE_COLOURS](0.25 + 0.75 * share))
    colours[..., 3] = OPAQUE * np.clip(4 * share, 0, 1)
    return colours


def bar_colours() -> list[str]:
    """Colours of a colour bar from low to high, as CSS writes them."""
    shares = 0.25 + 0.75 * np.linspace(0, 1, STOPS)
    return [matplotlib.colors.to_hex(colour) for colour in matplotlib.colormaps[TILE_COLOURS](shares)]


def png(picture: NDArray[np.floating]) -> bytes:
    """Colours from 0 to 1 `(row, col, 3 or 4)` as a PNG, the same bytes from the same numbers."""
    out = io.BytesIO()
    eight = np.round(np.clip(picture, 0, 1) * 255).astype(np.uint8)
    image.imsave(out, eight, format="png", metadata={"Software": ""})
    return out.getvalue()


def _picture(picture: NDArray[np.floating], width: float, height: float, kind: str = "image") -> str:
    data = base64.b64encode(png(picture)).decode("ascii")
    return (
        f'<image class="{kind}" width="{width:g}" height="{height:g}" preserveAspectRatio="none" '
        f'href="data:image/png;base64,{data}"/>'
    )


def _outline(mask: NDArray[np.bool_], pixel_mm: tuple[float, float]) -> str:
    """The outline of a mask as a path in millimetres."""
    lines = contour_generator(z=np.pad(mask, 1).astype(np.float64)).lines(0.5)
    # A pixel's centre lies half a pixel inside, and the padding took one.
    scaled = [(np.asarray(line) - 0.5) * (pixel_mm[1], pixel_mm[0]) for line in lines]
    return "".join("M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in line) for line in scaled)


def _letters(shown: SlicePicture, width: float, height: float) -> list[str]:
    """The letters of the four edges."""
    if shown.lettered:
        return []
    size = LETTER * max(width, height)
    edge = size / 2
    places = (
        (edge, height / 2),
        (width - edge, height / 2),
        (width / 2, edge + 1),
        (width / 2, height - edge),
    )
    return [
        f'<text x="{x:g}" y="{y:g}" {_text("middle", size)} class="side">{letter}</text>'
        for letter, (x, y) in zip(shown.sides, places, strict=True)
        if letter
    ]


def _scale_bar(width: float, height: float) -> list[str]:
    """A bar of 50 mm, where the picture is wide enough for one."""
    if width < 2 * BAR_MM:
        return []
    x, y, size = 4, height - 5, LETTER * max(width, height)
    return [
        f'<path d="M{x} {y:g}h{BAR_MM}" stroke="#fff" stroke-width="1.5"/>',
        f'<text x="{x}" y="{y - 0.6 * size:g}" {_text("start", size)}>{BAR_MM} mm</text>',
    ]


def _text(anchor: str, size: float) -> str:
    return f'fill="#fff" font-size="{size:g}" text-anchor="{anchor}" dominant-baseline="central" {SHADOW}'
