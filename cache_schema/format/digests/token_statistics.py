"""What a volume's embeddings look like in four numbers per array, taken when they are committed."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache_schema.format.header import ArraySpec


def token_statistics(spec: ArraySpec, values: NDArray[Any]) -> dict[str, float]:
    """Mean, standard deviation, and the smallest and largest token norm of one volume's array.

    A token is the last axis; arrays without a `dim` axis (attention, foreground, intensity) have
    numbers in place of tokens, whose norm is their magnitude.

    Args:
        spec: The array.
        values: Kept slices, `(slice, *rest)`, finite, at least one.
    """
    width = spec.item_shape[-1] if spec.dims[-1] == "dim" else 1
    total = squares = 0.0
    low, high = np.inf, 0.0
    # One slice at a time in float64: patches of a volume would need gigabytes at once.
    for item in values:
        tokens = item.reshape(-1, width).astype(np.float64)
        norm2 = np.einsum("td,td->t", tokens, tokens)
        total += float(tokens.sum())
        squares += float(norm2.sum())
        low, high = min(low, float(norm2.min())), max(high, float(norm2.max()))
    mean = total / values.size
    return {
        "mean": mean,
        "sd": max(squares / values.size - mean**2, 0.0) ** 0.5,
        "norm_min": low**0.5,
        "norm_max": high**0.5,
    }


def same_statistics(found: Mapping[str, float], stated: Mapping[str, float]) -> bool:
    """Whether statistics are equal up to the order of summation."""
    return all(np.isclose(found[name], stated.get(name, np.nan), rtol=1e-9, atol=1e-12) for name in found)
