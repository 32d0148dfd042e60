"""Bags: the kept slices of every volume as one padded tensor."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from aggregate.values import nearest
from cache_schema.errors import ConfigError, StoreError
from cache_schema.header import ArraySpec, Header
from cache_schema.reader import StoreReader, VolumeEntry


@dataclass(frozen=True, slots=True)
class Bags:
    """Tokens of all bags; padded slices are 0, `keep` False, height 0."""

    x: Float[Tensor, "bag slice dim"]
    keep: Bool[Tensor, "bag slice"]
    """True = real slice."""
    height_mm: Float[Tensor, "bag slice"]
    """Millimetres below the vertex."""

    def take(self, index: NDArray[np.int64] | Tensor | Sequence[int]) -> "Bags":
        """Some of the bags, in the order of `index`, padded no further than the longest of them."""
        rows = torch.as_tensor(np.asarray(index), dtype=torch.long)
        keep = self.keep[rows]
        # A slice that none of the bags has carries nothing: dropping it saves its share of every pass.
        length = int(keep.any(dim=0).nonzero().max()) + 1 if keep.any() else 1
        return Bags(self.x[rows, :length], keep[:, :length], self.height_mm[rows, :length])

    def __len__(self) -> int:
        return len(self.x)


def token_array(header: Header, tokens: str) -> ArraySpec:
    """The array that slices are described by.

    Raises:
        ConfigError: If the store has no such array, or it is not one vector per slice.
    """
    arrays = {spec.name: spec for spec in header.arrays}
    usable = [spec.name for spec in header.arrays if len(spec.item_shape) == 1]
    if tokens not in arrays:
        raise ConfigError(f"tokens: the store has no array {tokens!r}{nearest(tokens, usable)}")
    if tokens not in usable:
        raise ConfigError(f"tokens: {tokens!r} is not one vector per slice; use {' or '.join(usable)}")
    return arrays[tokens]


def bags_bytes(entries: Sequence[VolumeEntry], header: Header, tokens: str) -> int:
    """Bytes that `read_bags` needs at its peak: the stored numbers and their float32 copy.

    Args:
        entries: The volumes.
        header: Of their store.
        tokens: Name of the array.
    """
    spec = token_array(header, tokens)
    longest = max((entry.n_slices for entry in entries), default=0)
    return len(entries) * longest * spec.item_shape[0] * (np.dtype(spec.dtype).itemsize + 4)


def read_bags(
    store: StoreReader,
    entries: Sequence[VolumeEntry],
    tokens: str,
    bag: NDArray[np.int64] | None = None,
    dtype: torch.dtype = torch.float32,
) -> Bags:
    """Read volumes in one piece.

    Args:
        store: The open store.
        entries: Volumes, in the order of the bags (`Cohort.entries`).
        tokens: Name of the array: cls, patch_mean, cls_l08.
        bag: The bag of every entry (`Cohort.bag`), ascending; without it a volume is a bag. Volumes of
            one bag are put one behind the other along `slice`.
        dtype: Of `x` and `height_mm`.

    Raises:
        ConfigError: If the store has no such array.
        StoreError: If a kept slice holds NaN.
    """
    token_array(store.header, tokens)
    stored = store.read(tokens, entries)
    counts = np.array([entry.n_slices for entry in entries], dtype=np.int64)
    keep = np.arange(stored.shape[1]) < counts[:, None]
    # One sum per slice finds NaN (and infinity) without a mask as large as the tokens.
    bad = ~np.isfinite(stored.sum(axis=-1, dtype=np.float32)) & keep
    if bad.any():
        key = entries[int(np.flatnonzero(bad.any(axis=1))[0])].key
        raise StoreError(f"{store.location}: {tokens} of {key} holds NaN in a kept slice; run cache verify")
    height = np.zeros(keep.shape, dtype=np.float32)
    for row, entry in enumerate(entries):
        height[row, : entry.n_slices] = store.record(entry.key).slices.height_mm
    x = torch.from_numpy(stored).to(dtype, copy=True)
    x[torch.from_numpy(~keep)] = 0
    whole = Bags(x, torch.from_numpy(keep), torch.from_numpy(height).to(dtype))
    if bag is None or np.array_equal(bag, np.arange(len(entries))):
        return whole
    return _concatenate(whole, bag, counts)


def _concatenate(volumes: Bags, bag: NDArray[np.int64], counts: NDArray[np.int64]) -> Bags:
    """Put the kept slices of each bag's volumes one behind the other."""
    n_bags = int(bag.max()) + 1
    lengths = np.bincount(bag, weights=counts, minlength=n_bags).astype(np.int64)
    n, dim = int(lengths.max()), volumes.x.shape[2]
    x = volumes.x.new_zeros((n_bags, n, dim))
    keep = volumes.keep.new_zeros((n_bags, n))
    height = volumes.height_mm.new_zeros((n_bags, n))
    start = np.zeros(n_bags, dtype=np.int64)
    for row, (place, count) in enumerate(zip(bag, counts, strict=True)):
        span = slice(int(start[place]), int(start[place] + count))
        x[place, span] = volumes.x[row, :count]
        keep[place, span] = True
        height[place, span] = volumes.height_mm[row, :count]
        start[place] += count
    return Bags(x, keep, height)
