"""Saliency as a segmentation, as the Medical Slice Transformer has it: its highest voxels beside a mask."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, distance_transform_edt

from cache_schema.common.errors import SlicecacheError

QUANTILE = 0.999
"""Voxels above this quantile of a volume's saliency are called (arXiv 2411.15802)."""


@dataclass(frozen=True, slots=True)
class Overlap:
    """How much of a mask is called."""

    dice: float
    iou: float
    surface_mm: float | None
    """Average symmetric surface distance: over all surface voxels of both, to the other's nearest; None where
    one of both is empty."""


def highest(saliency: NDArray[np.floating], quantile: float = QUANTILE) -> NDArray[np.bool_]:
    """Voxels above a quantile of the volume; of equal voxels none where they are more than that share."""
    return np.asarray(saliency > np.quantile(saliency, quantile))


def overlap(
    called: NDArray[np.bool_], mask: NDArray[np.bool_], spacing_mm: tuple[float, float, float]
) -> Overlap:
    """Dice, intersection over union, and average symmetric surface distance.

    Args:
        called: (i, j, k).
        mask: The truth (i, j, k).
        spacing_mm: Of their voxels.

    Raises:
        SlicecacheError: If the shapes differ.
    """
    if called.shape != mask.shape:
        raise SlicecacheError(f"a mask of shape {called.shape} is expected, not {mask.shape}")
    both, either = int((called & mask).sum()), int((called | mask).sum())
    dice = 2 * both / (both + either) if either else float("nan")
    return Overlap(
        dice, both / either if either else float("nan"), _surface_distance(called, mask, spacing_mm)
    )


def _surface_distance(
    one: NDArray[np.bool_], other: NDArray[np.bool_], spacing_mm: tuple[float, float, float]
) -> float | None:
    """In mm; None where there is no surface to measure from or to."""
    if not one.any() or not other.any():
        return None
    surfaces = [mask & ~binary_erosion(mask) for mask in (one, other)]
    apart = [
        distance_transform_edt(~to, sampling=spacing_mm)[start] for start, to in (surfaces, surfaces[::-1])
    ]
    return float(np.concatenate(apart).mean())
