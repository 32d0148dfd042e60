"""Bags: the kept slices of every volume as one padded tensor."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from aggregate.bags.beside import NOTHING, Beside, arrays_by_name, require_alike, stores_used
from aggregate.bags.lazy import LazyTokens, Shelf, TokenArray
from aggregate.bags.places import Places
from aggregate.bags.token_names import token_names
from aggregate.common.table_values import nearest
from cache_schema.common.errors import ConfigError
from cache_schema.format.header import ArraySpec, Header
from cache_schema.store.reader import StoreReader, VolumeEntry


@dataclass(frozen=True, slots=True)
class Bags:
    """TokenArray of all bags; padded slices are 0, `keep` False, height 0."""

    x: TokenArray
    """(bag, slice, dim); in memory, or in the store when they are too many."""
    keep: Bool[Tensor, "bag slice"]
    """True = real slice."""
    height_mm: Float[Tensor, "bag slice"]
    """Millimetres below the vertex."""
    backwards: bool = False
    """Whether a trained head reads the slices from the last to the first; heights stay where they are."""
    views: tuple["Bags", ...] = ()
    """The same slices seen otherwise, which a trained head reads too (see `bags.views`)."""

    def take(self, index: NDArray[np.int64] | Tensor | Sequence[int]) -> "Bags":
        """Some of the bags, in the order of `index`, padded no further than the longest of them."""
        rows = torch.as_tensor(np.asarray(index), dtype=torch.long)
        keep = self.keep[rows]
        # A slice that none of the bags has carries nothing: dropping it saves its share of every pass.
        length = int(keep.any(dim=0).nonzero().max()) + 1 if keep.any() else 1
        x = self.x.take(rows, length) if isinstance(self.x, LazyTokens) else self.x[rows, :length]
        views = tuple(view.take(rows) for view in self.views)
        return Bags(x, keep[:, :length], self.height_mm[rows, :length], self.backwards, views)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of `x`: what scikit-learn divides bags by."""
        return tuple(self.x.shape)

    def __getitem__(self, rows: Any) -> "Bags":
        """Some of the bags, as an array is indexed along its first axis: a slice, a mask, or places."""
        chosen = rows[0] if isinstance(rows, tuple) and rows[1:] == (Ellipsis,) else rows
        return self.take(np.atleast_1d(np.arange(len(self))[chosen]))

    def __len__(self) -> int:
        return len(self.x)


def arrays_of(header: Header, tokens: str, beside: Beside = NOTHING) -> tuple[ArraySpec, ...]:
    """The arrays that slices are described by, in the order in which their numbers stand side by side.

    Raises:
        ConfigError: If a store has no such array, is not named, or the array is not one vector per slice.
    """
    arrays = arrays_by_name(header, beside)
    usable = [name for name, spec in arrays.items() if len(spec.item_shape) == 1]
    for other in stores_used(token_names(tokens)):
        if other not in beside:
            raise ConfigError(
                f"tokens: {tokens!r} reads from a store {other!r}, which is not given; say where it lies: "
                f"stores: {{{other}: LOCATION}}, and for predict --beside {other}=LOCATION"
            )
    for name in token_names(tokens):
        if name not in arrays:
            raise ConfigError(f"tokens: the store has no array {name!r}{nearest(name, usable)}")
        if name not in usable:
            raise ConfigError(f"tokens: {name!r} is not one vector per slice; use {' or '.join(usable)}")
    return tuple(arrays[name] for name in token_names(tokens))


def token_dim(header: Header, tokens: str, beside: Beside = NOTHING) -> int:
    """Numbers that describe a slice."""
    return sum(spec.item_shape[0] for spec in arrays_of(header, tokens, beside))


def bags_bytes(
    entries: Sequence[VolumeEntry],
    header: Header,
    tokens: str,
    bag: NDArray[np.int64] | None = None,
    beside: Beside = NOTHING,
) -> int:
    """Bytes that `read_bags` needs at its peak: the stored numbers and their float32 copy, both padded.

    Args:
        entries: The volumes.
        header: Of their store.
        tokens: As `read_bags` takes it.
        bag: The bag of every volume, as `read_bags` takes it.
        beside: Other stores, as `read_bags` takes them.
    """
    item = max(np.dtype(spec.dtype).itemsize for spec in arrays_of(header, tokens, beside))
    counts = np.array([entry.n_slices for entry in entries], dtype=np.int64)
    lengths = counts if bag is None else np.bincount(bag, weights=counts).astype(np.int64)
    stored = len(counts) * int(counts.max(initial=0)) * item
    return (stored + len(lengths) * int(lengths.max(initial=0)) * 4) * token_dim(header, tokens, beside)


def read_bags(
    store: StoreReader,
    entries: Sequence[VolumeEntry],
    tokens: str,
    bag: NDArray[np.int64] | None = None,
    dtype: torch.dtype = torch.float32,
    beside: Beside = NOTHING,
) -> Bags:
    """Read volumes in one piece.

    Args:
        store: The open store.
        entries: Volumes, in the order of the bags (`Cohort.entries`).
        tokens: Name of the array: cls, patch_mean, cls_l08; or of several, `cls+patch_mean`.
        bag: The bag of every entry (`Cohort.bag`), ascending; without it a volume is a bag. Volumes of
            one bag are put one behind the other along `slice`.
        dtype: Of `x` and `height_mm`.
        beside: Other stores of the same volumes, of which `tokens` may name arrays: `cls+large:cls`.

    Raises:
        ConfigError: If the store has no such array.
        SlicecacheError: If a store beside does not hold the same slices.
        StoreError: If a kept slice holds NaN.
    """
    places = _places(store, entries, tokens, bag, beside)
    stored = places.read(np.arange(len(entries)))
    keep, height = places.frame(dtype)
    if places.one_each:
        x = torch.from_numpy(stored).to(dtype, copy=True)
        x[~keep] = 0
        return Bags(x, keep, height)
    x = torch.zeros((*keep.shape, stored.shape[2]), dtype=dtype)
    for volume, (start, count) in enumerate(zip(places.starts, places.counts, strict=True)):
        x[places.bag[volume], start : start + count] = torch.from_numpy(stored[volume, :count])
    return Bags(x, keep, height)


def lazy_bags(
    store: StoreReader,
    entries: Sequence[VolumeEntry],
    tokens: str,
    bag: NDArray[np.int64] | None = None,
    budget: int = 0,
    beside: Beside = NOTHING,
) -> Bags:
    """The bags of `read_bags` with their tokens left in the store until they are needed.

    Args:
        store: The open store; it must stay as it is.
        entries: As for `read_bags`.
        tokens: As for `read_bags`.
        bag: As for `read_bags`.
        budget: Bytes of volumes that may stay in memory once they were read.
        beside: As for `read_bags`.

    Raises:
        ConfigError: If the store has no such array.
        SlicecacheError: If a store beside does not hold the same slices.
    """
    places = _places(store, entries, tokens, bag, beside)
    keep, height = places.frame(torch.float32)
    return Bags(LazyTokens(Shelf(places, budget), np.arange(len(keep)), keep.shape[1]), keep, height)


def _places(
    store: StoreReader,
    entries: Sequence[VolumeEntry],
    tokens: str,
    bag: NDArray[np.int64] | None,
    beside: Beside,
) -> Places:
    """Where the volumes lie in their bags."""
    arrays_of(store.header, tokens, beside)
    for name in stores_used(token_names(tokens)):
        require_alike(store, beside[name], name, entries)
    return Places(store, tuple(entries), tokens, np.arange(len(entries)) if bag is None else bag, beside)
