"""How far recomputed numbers may lie from stored ones, and how far they do."""

import platform
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from cache_schema.cluster.alike import library_version
from cache_schema.format.header import Header, Numerics
from extract.engines.device import device_name

FLAT_ARRAYS = ("cls_attention", "foreground", "patch_intensity")
"""Arrays whose last axis is no token: a slice is compared as one vector."""


@dataclass(frozen=True, slots=True)
class Tolerance:
    """What another machine may make of the same slice."""

    cosine: float
    """Least cosine of a token."""
    share: float
    """Largest difference, as a share of the slice's largest number in that array."""


SAME = Tolerance(0.99999, 0.002)
"""On the machine that made the store the same bits come back; this is the rounding to float16 and no more."""

TOLERANCES = {"float32": Tolerance(0.9999, 0.005), "bfloat16": Tolerance(0.9995, 0.04)}
"""By compute dtype, on any other machine. Measured with a ViT-S of random weights on real brains: bfloat16
beside float32 has cosines of 0.99991 and up and shares up to 0.026, the other way to resample the position
table shares from 0.007 (cls) and 0.03 (patches), the 98th percentile for the 99.5th shares from 0.02 on."""

RESAMPLED = ("foreground", "patch_intensity")
"""Arrays that the backbone has no part in: float32 whatever the compute dtype."""


def tolerance_of(header: Header, numerics: Numerics, device: torch.device) -> tuple[Tolerance, str]:
    """Which tolerance holds here for volumes that were computed with these numerics, and why."""
    compute = numerics.compute_dtype
    made = header.created
    libraries = made.get("libraries") or {}
    here = {"host": platform.node(), "device": device_name(device), "threads": torch.get_num_threads()}
    same = all(made.get(name) == value for name, value in here.items())
    multiplied = dict.fromkeys(("torch", numerics.engine))
    same = same and all(libraries.get(name) == library_version(name) for name in multiplied)
    if same and device.type == "cpu":
        return SAME, "made on this machine"
    return TOLERANCES.get(compute, TOLERANCES["bfloat16"]), f"{compute} on another machine"


@dataclass(slots=True)
class Worst:
    """The worst of one array over all recomputed slices."""

    cosine: float = 1.0
    difference: float = 0.0
    """Largest absolute difference."""
    share: float = 0.0
    """Largest difference as a share of the slice's largest number."""


def compare_tokens(
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
