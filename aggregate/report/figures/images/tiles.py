"""Anomaly maps as pictures beside the store's previews: the same slices in the same places.

A preview is a mosaic of up to twelve slices from the vertex down, six in a row (see `extract.preview`); a
mosaic of other measures gets its map without the picture below.
"""

import io

import matplotlib
import numpy as np
from matplotlib import image
from numpy.typing import NDArray

from aggregate.anomaly.findings.results import PartArray, ShownVolume
from aggregate.anomaly.maps.placement import axis_weights

TILES, COLUMNS, TILE = 12, 6, 112
TILE_COLOURS = "inferno"
PART_COLOURS = "tab20"
OPAQUE = 0.85
Picture = NDArray[np.float64]


def shown_slices(count: int) -> list[int]:
    """The slices of a preview, from the vertex down."""
    tiles = min(TILES, count)
    return [int((place + 0.5) * count / tiles) for place in range(tiles)][::-1]


def highest(finding: ShownVolume, most: int = 3) -> list[float]:
    """Heights of the slices with the highest scores, in mm below the vertex."""
    return [float(finding.height_mm[place]) for place in np.argsort(-finding.slices, kind="stable")[:most]]


def tile_sheet(finding: ShownVolume, top: float) -> tuple[bytes | None, bytes]:
    """The preview as it is, and the map over it as PNGs.

    Args:
        finding: One volume.
        top: The score that gets the brightest colour.
    """
    places = shown_slices(len(finding.tokens))
    columns = min(COLUMNS, len(places))
    rows = -(-len(places) // columns)
    grey = _grey(finding.preview, rows * TILE, columns * TILE)
    heat, weight = np.zeros((rows * TILE, columns * TILE, 3)), np.zeros((rows * TILE, columns * TILE, 1))
    for number, place in enumerate(places):
        row, column = number // columns * TILE, number % columns * TILE
        window = slice(row, row + TILE), slice(column, column + TILE)
        heat[window], weight[window] = _tile(finding, place, top)
    below = np.zeros_like(heat) if grey is None else np.repeat(grey[..., None], 3, axis=2)
    return finding.preview, _png(below * (1 - weight) + heat * weight)


def part_sheet(finding: ShownVolume, parts: PartArray) -> bytes:
    """Which part each patch comes from, in the places of the preview: a colour per part, as a PNG.

    Args:
        finding: One volume.
        parts: `(slice, row, col)`, of one detector.
    """
    places = shown_slices(len(parts))
    columns = min(COLUMNS, len(places))
    sheet = np.zeros((-(-len(places) // columns) * TILE, columns * TILE, 3))
    colours = np.asarray(matplotlib.colormaps[PART_COLOURS].colors)  # type: ignore[attr-defined]
    for number, place in enumerate(places):
        row, column = number // columns * TILE, number % columns * TILE
        shown = colours[parts[place] % len(colours)] * (finding.foreground[place] > 0)[..., None]
        down, across = (np.arange(TILE) * patches // TILE for patches in parts[place].shape)
        sheet[row : row + TILE, column : column + TILE] = shown[down[:, None], across]
    return _png(sheet)


def _tile(finding: ShownVolume, place: int, top: float) -> tuple[Picture, Picture]:
    """Colours and opacity `(TILE, TILE, 3)` and `(TILE, TILE, 1)` of one slice; clear below the threshold."""
    inside = np.where(finding.foreground[place] > 0, finding.tokens[place], finding.threshold)
    sides = [axis_weights(1.0, 0.0, TILE, TILE, patches) for patches in inside.shape]
    values = sides[0] @ inside @ sides[1].T
    share = np.clip((values - finding.threshold) / max(top - finding.threshold, 1e-12), 0, 1)
    colours = np.asarray(matplotlib.colormaps[TILE_COLOURS](0.25 + 0.75 * share))[..., :3]
    return colours, (OPAQUE * np.clip(4 * share, 0, 1))[..., None]


def _grey(preview: bytes | None, height: int, width: int) -> Picture | None:
    """A preview as numbers from 0 to 1, if it is laid out as expected."""
    if preview is None:
        return None
    picture = np.asarray(image.imread(io.BytesIO(preview), format="png"), dtype=np.float64)
    picture = picture if picture.ndim == 2 else picture[..., :3].mean(axis=2)
    return picture if picture.shape == (height, width) else None


def _png(picture: Picture) -> bytes:
    """Colours as a PNG, the same bytes from the same numbers."""
    out = io.BytesIO()
    eight = np.round(np.clip(picture, 0, 1) * 255).astype(np.uint8)
    image.imsave(out, eight, format="png", metadata={"Software": ""})
    return out.getvalue()
