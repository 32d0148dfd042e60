"""What a head as an estimator is given, as bags: arrays with NaN, ragged lists, or bags as they are."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from aggregate.api.bag_arrays import BagArrays
from aggregate.bags.bags import Bags
from cache_schema.common.errors import SlicecacheError


class InputError(SlicecacheError, ValueError):
    """X, y or groups cannot be used as given; a ValueError too, as scikit-learn's conventions want it.

    Example:
        >>> try:
        ...     sc.HeadClassifier().fit(X, y)
        ... except ValueError as error:
        ...     print(error)
    """


def is_bags(given: Any) -> bool:
    """Whether X says by itself which slices are real; what else it is, is one slice per row."""
    if isinstance(given, Bags | BagArrays):
        return True
    if isinstance(given, list | tuple):
        return bool(given) and getattr(given[0], "ndim", 0) == 2
    return getattr(given, "ndim", 0) == 3


def bags_of(given: Any) -> Bags:
    """Bags of X in float32, 0 at pads.

    Args:
        given: `Bags`, `BagArrays`, an array (n, slice, dim) with NaN where there is no slice, or a list of
            arrays (slice, dim).

    Raises:
        InputError: If a slice is NaN in part or infinite, or lists differ in `dim`.
    """
    if isinstance(given, Bags):
        return given
    if isinstance(given, BagArrays):
        return _padded(given.x, given.keep, given.height_mm)
    x = _stacked(given) if isinstance(given, list | tuple) else np.asarray(given)
    if not np.issubdtype(x.dtype, np.number) or np.iscomplexobj(x):
        raise InputError(f"X holds {x.dtype}; tokens are real numbers, (n, slice, dim)")
    keep = ~np.isnan(x).all(axis=-1)
    # Nobody said where the slices lie, so they count as a millimetre apart.
    return _padded(x, keep, np.where(keep, np.arange(x.shape[1]), 0))


def one_slice_each(x: NDArray[Any]) -> Bags:
    """Bags of one slice from (n, dim)."""
    return _padded(x[:, None], np.ones((len(x), 1), dtype=np.bool_), np.zeros((len(x), 1)))


def participants_of(given: Any) -> NDArray[Any] | None:
    """Who the bags are of, where X knows."""
    return given.participant_id if isinstance(given, BagArrays) else None


def _stacked(given: Sequence[Any]) -> NDArray[Any]:
    """Arrays (slice, dim) as one (n, slice, dim), NaN behind each one's slices."""
    arrays = [np.asarray(array) for array in given]
    shapes = {array.shape[1:] for array in arrays}
    if len(shapes) != 1 or arrays[0].ndim != 2:
        raise InputError(f"X is a list of arrays (slice, dim) of one dim, not of {sorted(shapes)}")
    longest = max(len(array) for array in arrays)
    stacked = np.full((len(arrays), longest, arrays[0].shape[1]), np.nan, dtype=np.float32)
    for place, array in enumerate(arrays):
        stacked[place, : len(array)] = array
    return stacked


def _padded(x: NDArray[Any], keep: NDArray[np.bool_], height_mm: NDArray[Any]) -> Bags:
    """Numpy to torch, 0 at pads."""
    if x.ndim != 3:
        raise InputError(f"X is (n, slice, dim), not of shape {x.shape}; patches have no head")
    with np.errstate(over="ignore"):  # found below, with a sentence
        real = np.where(keep[..., None], x, 0).astype(np.float32)
    if not np.isfinite(real).all():
        bag = int(np.flatnonzero(~np.isfinite(real).all(axis=(1, 2)))[0])
        raise InputError(
            f"X has a slice that holds NaN or infinity (or a number beyond float32) in bag {bag}; a slice is "
            "NaN in all of its numbers, where there is none, or in none"
        )
    if len(keep) and not keep.any(axis=1).all():
        bag = int(np.flatnonzero(~keep.any(axis=1))[0])
        raise InputError(f"X has no real slice in bag {bag}; leave it out")
    height = height_mm.astype(np.float32)
    return Bags(torch.from_numpy(real), torch.from_numpy(keep.copy()), torch.from_numpy(height))
