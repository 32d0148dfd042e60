"""A torch Dataset over a store: one bag per volume, read when it is asked for."""

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.utils.data import Dataset

from cache_schema.common.prove import Prove
from cache_schema.common.text.counts import counted
from cache_schema.format.identity import VolumeKey
from cache_schema.store.reader import StoreReader, VolumeEntry, open_store


class Bag(NamedTuple):
    """One volume, or a batch of them behind `collate_bags`.

    Example:
        >>> x, keep, height_mm, key = sc.open("cache.zarr").to_torch("cls")[0]
    """

    x: Float[Tensor, "*bag slice dim"]
    """Tokens in float32; 0 at pads."""
    keep: Bool[Tensor, "*bag slice"]
    """True = real slice."""
    height_mm: Float[Tensor, "*bag slice"]
    """Millimetres below the vertex; 0 at pads."""
    key: Any
    """The volume's key (participant_id, session_id, volume_id); of a batch a list of them."""


class BagDataset(Dataset[Bag]):
    """Bags of a store by place; each worker process of a DataLoader opens the store for itself.

    Example:
        >>> data = sc.open("cache.zarr").to_torch("cls")
        >>> loader = DataLoader(data, batch_size=16, shuffle=True, collate_fn=sc.collate_bags)
    """

    def __init__(
        self, location: str, name: str, entries: tuple[VolumeEntry, ...], prove: Prove = "crc32c"
    ) -> None:
        """Stand for some volumes of one array."""
        self.location, self.name, self.entries, self.prove = location, name, entries, prove
        self._opened: tuple[int, StoreReader] | None = None

    def __len__(self) -> int:
        return len(self.entries)

    def __repr__(self) -> str:
        return f"<BagDataset {self.name} of {counted(len(self), 'volume')} in {self.location!r}>"

    def __getitem__(self, place: int) -> Bag:
        entry = self.entries[place]
        reader = self._reader()
        x = torch.from_numpy(reader.read_volume(self.name, entry.key)).float()
        height = torch.tensor(reader.record(entry.key).slices.height_mm)
        return Bag(x, torch.ones(len(x), dtype=torch.bool), height, entry.key)

    def _reader(self) -> StoreReader:
        """The store, opened once per process: an open one is neither pickled nor used behind a fork."""
        if self._opened is None or self._opened[0] != os.getpid():
            self._opened = os.getpid(), open_store(self.location, self.prove)
        return self._opened[1]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}


def collate_bags(bags: Sequence[Bag]) -> Bag:
    """Pad bags to the longest of them, for a DataLoader's `collate_fn`.

    Returns:
        x (bag, slice, dim), keep (bag, slice), height_mm (bag, slice), and the list of keys.

    Example:
        >>> loader = DataLoader(store.to_torch("cls"), batch_size=16, collate_fn=sc.collate_bags)
    """

    def padded(values: Sequence[Tensor]) -> Tensor:
        return torch.nn.utils.rnn.pad_sequence(list(values), batch_first=True)

    keys: list[VolumeKey] = [bag.key for bag in bags]
    x, keep, height = ([bag[field] for bag in bags] for field in range(3))
    return Bag(padded(x), padded(keep), padded(height), keys)
