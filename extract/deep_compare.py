"""How far recomputed numbers may lie from stored ones, and how far they do."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FLAT = ("cls_attention", "foreground", "patch_intensity")
"""Arrays whose last axis is no token: a slice is compared as one vector."""


@dataclass(frozen=True, slots=True)
class Tolerance:
    """What another machine may make of the same slice."""

    cosine: float
    """Least cosine of a token."""
    share: float
    """Largest difference, as a share of the slice's largest number in that array."""


TOLERANCES = {
    "float32": Tolerance(0.9999, 0.01),
    "bfloat16": Tolerance(0.998, 0.1),
    "float16": Tolerance(0.9999, 0.02),
}
"""By compute dtype. On the kind of CPU that made the store the same bits come back; these are for others."""


@dataclass(slots=True)
class Worst:
    """The worst of one array over all recomputed slices."""

    cosine: float = 1.0
    difference: float = 0.0
    """Largest absolute difference."""
    share: float = 0.0
    """Largest difference as a share of the slice's largest number."""


def compare(
    stored: NDArray[np.float64], again: NDArray[np.float64], flat: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Per slice: worst cosine of a vector, largest difference, and that over the largest number.

    Args:
        stored: `(slice, ..., dim)`.
        again: The same, recomputed.
        flat: Whether a slice is one vector instead of one per place.
    """
    count = len(stored)
    a = stored.reshape(count, 1, -1) if flat else stored.reshape(count, -1, stored.shape[-1])
    b = again.reshape(a.shape)
    products = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    same = (a == b).all(axis=-1)
    cosine = np.where(same, 1.0, (a * b).sum(axis=-1) / np.where(products > 0, products, 1.0))
    difference = np.abs(a - b).max(axis=(1, 2))
    largest = np.maximum(np.abs(a).max(axis=(1, 2)), np.abs(b).max(axis=(1, 2)))
    # A number that is not finite must fail every comparison, which NaN by itself would not.
    cosine, difference = np.nan_to_num(cosine, nan=-1.0), np.nan_to_num(difference, nan=np.inf)
    share = np.nan_to_num(difference / np.where(largest > 0, largest, 1.0), nan=np.inf, posinf=np.inf)
    return cosine.min(axis=1), difference, share
