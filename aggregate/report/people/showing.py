"""A volume's slices as pictures: of the image where it can be read, else of the store's preview."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from aggregate.anomaly.maps.canvas import canvas_map, canvas_slice, sides
from aggregate.anomaly.maps.nifti import read_voxels
from aggregate.common.pictures import shown_preview
from aggregate.report.figures.images.slices import SlicePicture, grey_of, preview_slice, slice_svg
from cache_schema.common.errors import SlicecacheError
from cache_schema.format.record import VolumeRecord
from cache_schema.store.reader import StoreReader

Voxels = NDArray[np.generic]


@dataclass(frozen=True, slots=True)
class VolumePictures:
    """What pictures of a volume are made from."""

    record: VolumeRecord
    voxels: Voxels | None
    """The image `(i, j, k)`."""
    why_not: str
    """Why there is none."""
    preview: bytes | None
    truth: NDArray[np.bool_] | None = None
    """Lesion voxels."""

    def source(self) -> str:
        """Where its pictures come from, in a sentence."""
        if self.voxels is not None:
            return "The slices are of the image itself, on the canvas that the backbone saw."
        if self.preview is not None:
            return (
                f"No image at hand ({self.why_not}): slices are of the store's preview, which holds some "
                "heights only; the others are shown without one."
            )
        return f"No image at hand ({self.why_not}; the store holds no preview): the map is shown alone."


def volume_pictures(
    store: StoreReader, record: VolumeRecord, images: Path | None, truth: NDArray[np.bool_] | None = None
) -> VolumePictures:
    """Find what can be shown of a volume.

    Args:
        store: Holds its preview, perhaps.
        record: Of the volume.
        images: Input root of stage one, where it is there.
        truth: Its lesion voxels.
    """
    preview = shown_preview(store, record.key)
    try:
        return VolumePictures(record, read_voxels(record, images), "", preview, truth)
    except (SlicecacheError, ModuleNotFoundError) as error:
        absent = isinstance(error, ModuleNotFoundError)
        # What a library says of a file may name the file.
        why_not = "nibabel is not installed" if absent else str(error).partition(":")[0]
        return VolumePictures(record, None, why_not, preview, truth)


@dataclass(frozen=True, slots=True)
class Heat:
    """A map of a volume, and its colours."""

    tokens: NDArray[np.floating]
    """`(slice, row, col)`"""
    smooth_pixels: float
    low: float
    top: float


def shown_slice(pictures: VolumePictures, place: int, heat: Heat | None, told: str) -> Markup:
    """One kept slice, the map over it."""
    record = pictures.record
    geometry = record.geometry
    base = SlicePicture(geometry.canvas, geometry.pixel_mm, sides(geometry), None)
    if pictures.voxels is not None:
        seen = canvas_slice(pictures.voxels, record, place)
        grey = None if seen is None else grey_of(seen, record.intensity_quantiles)
        base = replace(base, grey=grey)
    else:
        count = len(record.slices.index)
        grey = preview_slice(pictures.preview, count, place, geometry.canvas)
        base = replace(base, grey=grey, lettered=grey is not None)
    if heat is not None:
        tokens = canvas_map(heat.tokens[place], geometry.canvas, heat.smooth_pixels)
        base = replace(base, heat=tokens, low=heat.low, top=heat.top)
    if pictures.truth is not None:
        mask = canvas_slice(pictures.truth, record, place, nearest=True)
        base = replace(base, truth=None if mask is None else mask > 0)
    return slice_svg(base, told)


def lesion_per_slice(truth: NDArray[np.bool_], record: VolumeRecord) -> NDArray[np.int64]:
    """Lesion pixels on the canvas of every kept slice (slice,)."""
    shown = (canvas_slice(truth, record, place, nearest=True) for place in range(len(record.slices.index)))
    return np.array([0 if mask is None else int((mask > 0).sum()) for mask in shown], dtype=np.int64)


def highest_places(values: Sequence[float] | NDArray[np.floating], most: int = 3) -> list[int]:
    """Places of the highest values, the highest first."""
    return [int(place) for place in np.argsort(-np.asarray(values), kind="stable")[:most]]
