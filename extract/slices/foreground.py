"""Which voxels are the participant: by a mask, by a stripped background, or by a threshold.

It sets the intensity window, the slices, the field's centre and the patch weights. Without a mask and
without a clean background it is a whole head, and is never called a brain.
"""

from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy import ndimage

from cache_schema.common.errors import VolumeError
from cache_schema.common.strict import Strict
from cache_schema.format.record import ForegroundKind
from extract.slices.intensity import quantiles

_T = TypeVar("_T", bound=np.generic)


class ForegroundSpec(Strict):
    """Parameters of the rules; a mask file always goes first."""

    border_share: float = Field(default=0.2, gt=0, le=1)
    """Skull-stripped is where at least this share of all voxels has the border's most common value."""
    border_clean: float = Field(default=0.95, gt=0, le=1)
    """And at least this share of the border itself: noisy air quantised to 8 bits has many zeros as well."""
    largest_brain_ml: float = Field(default=2500.0, gt=0)
    """And what is left is no larger than this: a head on a cleaned background is a head."""
    clip: tuple[float, float] = (0.5, 99.5)
    """Percentiles of all voxels between which Otsu's threshold is sought."""
    fill: Literal["slice"] = "slice"
    """Holes are filled slice by slice: through nose, ears and neck the skull is open in three dimensions."""
    min_area_cm2: float = Field(default=5.0, ge=0)
    """Foreground that a slice needs to count as the vertex or the lowest slice."""


@dataclass(frozen=True, slots=True)
class FoundForeground:
    """A foreground and the rule that gave it."""

    mask: NDArray[np.bool_]
    kind: ForegroundKind


def find_foreground(
    data: NDArray[np.floating], voxel_ml: float, spec: ForegroundSpec, axis: int = 2
) -> FoundForeground:
    """Find the foreground of a finite volume without a mask file.

    Args:
        data: Any axis order, three axes.
        voxel_ml: Volume of a voxel in millilitres.
        spec: Parameters.
        axis: The sliced axis of `data`.

    Raises:
        VolumeError: If every voxel has the same value, or nothing stands out.
    """
    value, clean = border_value(data)
    background = data == value
    share = np.count_nonzero(background) / data.size
    if share == 1.0:
        raise VolumeError(f"every voxel is {value:g}")
    millilitres = (data.size - np.count_nonzero(background)) * voxel_ml
    if share >= spec.border_share and clean >= spec.border_clean and millilitres <= spec.largest_brain_ml:
        return FoundForeground(~background, "stripped")
    return FoundForeground(head_mask(data, spec.clip, axis), "head")


def outer_faces(data: NDArray[_T]) -> NDArray[_T]:
    """All voxels of the six outer faces, in one flat array (edges and corners more than once)."""
    faces = [data[0], data[-1], data[:, 0], data[:, -1], data[:, :, 0], data[:, :, -1]]
    return np.concatenate([face.ravel() for face in faces])


def border_value(data: NDArray[np.floating]) -> tuple[float, float]:
    """The most common value of the six outer faces, and the share of the faces that has it."""
    faces = outer_faces(data)
    values, counts = np.unique(faces, return_counts=True)
    most = int(np.argmax(counts))
    return float(values[most]), float(counts[most] / faces.size)


def head_mask(data: NDArray[np.floating], clip: tuple[float, float], axis: int) -> NDArray[np.bool_]:
    """Otsu's threshold on clipped intensities, the largest component, its holes filled slice by slice.

    Raises:
        VolumeError: If the clipped intensities are constant.
    """
    if data.flags.f_contiguous and not data.flags.c_contiguous:  # labelling along memory is faster
        return head_mask(data.T, clip, 2 - axis).T
    low, high = quantiles(data, clip)
    if not high > low:
        raise VolumeError(f"nearly every voxel is {low:g}: no foreground stands out")
    return fill_holes(largest_component(data > otsu(data, float(low), float(high))), axis)


def otsu(data: NDArray[np.floating], low: float, high: float) -> float:
    """Threshold of the greatest variance between classes (Otsu 1979) over values clipped to `[low, high]`."""
    bins = 256  # as many as 8 bits index
    step = (high - low) / bins
    if not step > np.finfo(np.float32).tiny or not high < np.finfo(np.float32).max / 2:
        raise VolumeError(f"the intensities, {low:g} to {high:g}, are beyond what float32 tells apart")
    # Clipped before anything else: outliers of 1e38 must not overflow float32.
    index = ((np.clip(data, low, high) - low) * ((1 - 1e-6) / step)).astype(np.uint8)
    counts = np.bincount(index.ravel(), minlength=bins)
    edges = low + step * np.arange(bins + 1)
    centres = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)[:-1].astype(np.float64)
    above = counts.sum() - below
    mass = np.cumsum(counts * centres)
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (mass[:-1] / below - (mass[-1] - mass[:-1]) / above) ** 2
    return float(edges[1:-1][int(np.argmax(np.nan_to_num(between)))])


def largest_component(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The largest part that hangs together by voxel faces; the mask itself when it is empty."""
    labels, count = ndimage.label(mask)
    if count < 2:
        return mask
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return np.asarray(labels == int(np.argmax(sizes)))


def fill_holes(mask: NDArray[np.bool_], axis: int) -> NDArray[np.bool_]:
    """Add every part of the outside that does not reach its slice's border.

    Args:
        mask: Three axes.
        axis: The sliced one; holes are holes in the plane of the other two.
    """
    cross = ndimage.generate_binary_structure(3, 1)
    for end in (0, 2):  # neighbours in the same slice only
        cross[tuple(end if each == axis else slice(None) for each in range(3))] = False
    labels, count = ndimage.label(~mask, structure=cross)
    closed = np.ones(count + 1, dtype=np.bool_)
    for each in range(3):
        if each != axis:
            for end in (0, -1):
                closed[labels[tuple(end if other == each else slice(None) for other in range(3))]] = False
    closed[0] = True  # label 0 is the mask itself
    return closed[labels]


def mask_voxels(values: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Voxels of a mask, a label image or a probability map: 0.5 and above.

    Raises:
        VolumeError: If there is none.
    """
    mask = values >= 0.5
    if not mask.any():
        raise VolumeError("the foreground mask is empty")
    return mask
