"""The streaming reader: slices of chosen volumes, in order or shuffled across volumes, in bounded memory.

Shuffling goes in two steps. Stretches of neighbouring slices, about one chunk each so that each chunk
is read about once an epoch, are put in random order; as many of them as the budget holds make a pool,
and the pool's slices are put in random order again. The order follows from the seed, the epoch, the
budget and the slices (volumes by key), and from nothing of how the store is laid out.
"""

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from aggregate.anomaly.detectors.base import Reference, SliceBatch, volume_number
from aggregate.anomaly.fitting.pools import Chosen, Stretch, pools_of, runs_of_equal
from cache_schema.common.errors import ConfigError, StoreError
from cache_schema.format.canonical import sha256_json
from cache_schema.format.identity import VolumeKey
from cache_schema.format.layout import MAX_CHUNK_BYTES
from cache_schema.store.reader import StoreReader, VolumeEntry

ARRAYS = ("patches", "foreground", "patch_intensity", "cls")
BUDGET = 256 * 2**20
"""Bytes that a pool may take."""
PIECE = 8
"""Slices that leave a pool at once."""
MIXED = 16
"""Stretches in a pool at least, so that a batch holds slices of many volumes."""
READ_THREADS = 4
"""Stretches read at once: enough to keep slow storage busy, and no harm to a fast one."""


@dataclass(frozen=True)
class SliceStream:
    """Slices of one store; made by `open_stream`."""

    store: StoreReader
    volumes: tuple[Chosen, ...]
    """By key."""
    seed: int
    budget: int
    """Bytes."""
    layers: tuple[str, ...] = ()
    """Arrays of inner blocks that come along in `SliceBatch.layers`."""
    views: tuple[StoreReader, ...] = ()
    """Of the same slices, turned or mirrored; they come beside in `SliceBatch.views`."""

    @property
    def n_slices(self) -> int:
        """Slices in one epoch."""
        return sum(len(chosen.slices) for chosen in self.volumes)

    @cached_property
    def reference(self) -> Reference:
        """What a detector is told."""
        rows, cols, dim = self.store.layout("patches").spec.item_shape
        return Reference(dim, (rows, cols), self.n_slices, len(self.volumes))

    @cached_property
    def digest(self) -> str:
        """SHA-256 of what the stream gives and in which order: numbers, slices, seed and budget."""
        header = self.store.header
        volumes = [
            [*chosen.entry.key.as_list(), chosen.entry.digest, _sha256(chosen.slices)]
            for chosen in self.volumes
        ]
        hashes = [header.fingerprint.digest, header.numerics.digest]
        more = [list(self.layers)] if self.layers else []
        views = map(self._view_digests, self.views)
        return sha256_json([*hashes, self.seed, self.budget, volumes, *more, *views])

    def _view_digests(self, view: StoreReader) -> list[str]:
        """What the numbers of a view follow from."""
        entries = [view.entry(chosen.entry.key).digest for chosen in self.volumes]
        return [view.header.fingerprint.digest, view.header.numerics.digest, *entries]

    def in_order(self, size: int) -> Iterator[tuple[VolumeEntry, SliceBatch]]:
        """Batches of at most `size` slices, volume by volume, without views; none holds two volumes.

        Raises:
            StoreError: If a chunk is missing or damaged.
        """
        for chosen in self.volumes:
            for pool in pools_of(self._stretches(chosen), self._pool_slices):
                arrays = self._read(self.store, pool)
                for start in range(0, len(arrays["volume"]), size):
                    yield chosen.entry, _batch(arrays, slice(start, start + size))
                del arrays  # or two pools would be in memory while the next one is read

    def shuffled(self, epoch: int) -> Iterator[SliceBatch]:
        """All slices in the random order of an epoch, up to `PIECE` at a time.

        Raises:
            StoreError: If a chunk is missing or damaged.
        """
        generator = np.random.default_rng([self.seed, epoch])
        stretches = [stretch for chosen in self.volumes for stretch in self._stretches(chosen)]
        order = generator.permutation(len(stretches))
        for pool in pools_of([stretches[place] for place in order], self._pool_slices):
            each = [self._read(store, pool) for store in (self.store, *self.views)]
            inside = generator.permutation(len(each[0]["volume"]))
            for start in range(0, len(inside), PIECE):
                batch, *views = (_batch(arrays, inside[start : start + PIECE]) for arrays in each)
                yield replace(batch, views=tuple(views))
            del each

    @property
    def _pool_slices(self) -> int:
        """Slices that the budget holds, counted at four bytes per number whatever the storage dtype."""
        names = (*ARRAYS, *self.layers)
        numbers = sum(math.prod(self.store.layout(name).spec.item_shape) for name in names)
        return max(1, self.budget // (4 * numbers * (1 + len(self.views))))

    def _stretches(self, chosen: Chosen) -> list[Stretch]:
        """A volume's stretches, cut where chunks of float16 would be."""
        chunk = MAX_CHUNK_BYTES // (2 * math.prod(self.store.layout("patches").spec.item_shape))
        step = max(1, min(chunk, self._pool_slices // MIXED))
        parts = runs_of_equal(chosen.slices // step)
        return [Stretch(chosen, int(part[0]), int(part[-1]) + 1) for part in parts]

    def _read(self, store: StoreReader, stretches: Sequence[Stretch]) -> dict[str, NDArray[Any]]:
        """The arrays of some stretches of a store in their order, in its storage dtype."""
        lengths = [stretch.stop - stretch.start for stretch in stretches]
        ends = np.cumsum(lengths)
        names = (*ARRAYS, *self.layers)
        out: dict[str, NDArray[Any]] = {
            name: np.empty((ends[-1], *layout.spec.item_shape), dtype=layout.spec.dtype)
            for name, layout in ((name, store.layout(name)) for name in names)
        }
        out["height_mm"] = np.empty(ends[-1], dtype=np.float32)
        out["volume"] = np.empty(ends[-1], dtype=np.int64)

        def fill(place: int) -> None:
            stretch, target = stretches[place], slice(ends[place] - lengths[place], ends[place])
            chosen = stretch.chosen
            entry = chosen.entry if store is self.store else store.entry(chosen.entry.key)
            slices = chosen.slices[stretch.start : stretch.stop]
            for name in names:
                out[name][target] = store.read_slices(name, entry, slices)
            out["height_mm"][target] = chosen.height_mm[stretch.start : stretch.stop]
            out["volume"][target] = chosen.number

        if len(stretches) == 1:
            fill(0)
            return out
        with ThreadPoolExecutor(min(READ_THREADS, len(stretches))) as pool:
            for _ in pool.map(fill, range(len(stretches))):
                pass
        return out


def open_stream(
    store: StoreReader,
    entries: Sequence[VolumeEntry] | None = None,
    slices: Mapping[VolumeKey, Sequence[int]] | None = None,
    *,
    seed: int = 0,
    budget: int = BUDGET,
    layers: Sequence[str] = (),
    views: Sequence[StoreReader] = (),
) -> SliceStream:
    """Prepare to stream slices; only records are read.

    Args:
        store: With `patches` and `cls`.
        entries: Which volumes; all when None. Their order does not matter.
        slices: Positions among a volume's kept slices, for volumes of which not all are wanted.
        seed: Of the shuffling.
        budget: Bytes that slices in memory may take, whatever the number of volumes; what is made of a
            batch comes beside it.
        layers: Arrays of inner blocks that are read beside `patches`.
        views: Stores with the same slices of these volumes, turned or mirrored.

    Raises:
        ConfigError: If the store lacks an array, or no slice is left.
        StoreError: If a position is beyond the kept slices.
    """
    arrays = {spec.name for spec in store.header.arrays}
    if not set(ARRAYS) <= arrays:
        raise ConfigError(
            f"detectors read patches and cls of every slice, but the store {store.location!r} has only "
            f"{', '.join(sorted(arrays))}; extract with `tokens: [cls, patches]`, to a store of its own"
        )
    for each in (store, *views):
        _require_layers(each, layers)
    volumes = store.entries if entries is None else sorted(entries, key=lambda entry: entry.key)
    chosen = [_choose(store, entry, (slices or {}).get(entry.key)) for entry in volumes]
    volumes_left = tuple(one for one in chosen if len(one.slices))
    stream = SliceStream(store, volumes_left, seed, budget, tuple(layers), tuple(views))
    if not stream.volumes:
        raise ConfigError(f"no slice of the store {store.location!r} is left to read; choose more volumes")
    return stream


def _require_layers(store: StoreReader, layers: Sequence[str]) -> None:
    """Refuse arrays of inner blocks that are not there, or have tokens unlike those of the last.

    Raises:
        ConfigError: Naming the first.
    """
    shapes = {spec.name: spec.item_shape for spec in store.header.arrays}
    for name in layers:
        if shapes.get(name) != shapes["patches"]:
            found = f"has {shapes[name]}" if name in shapes else "is not there"
            raise ConfigError(
                f"a detector reads {name}, which should be like patches, {shapes['patches']}, in the store "
                f"{store.location!r}, but {found}; extract with `tokens: [cls, patches, {name}]`"
            )


def _choose(store: StoreReader, entry: VolumeEntry, slices: Sequence[int] | None) -> Chosen:
    """The chosen slices of a volume with their heights."""
    wanted = np.arange(entry.n_slices) if slices is None else np.unique(np.asarray(slices, dtype=np.int64))
    if len(wanted) and (wanted[0] < 0 or wanted[-1] >= entry.n_slices):
        raise StoreError(
            f"volume {entry.key} has {entry.n_slices} kept slices, counted from 0; slices {wanted[0]} to "
            f"{wanted[-1]} were chosen"
        )
    heights = np.asarray(store.record(entry.key).slices.height_mm, dtype=np.float32)
    return Chosen(entry, volume_number(entry.key), wanted, heights[wanted])


def _sha256(numbers: NDArray[np.int64]) -> str:
    return hashlib.sha256(numbers.astype("<i8").tobytes()).hexdigest()


def _batch(arrays: Mapping[str, NDArray[Any]], index: NDArray[np.intp] | slice) -> SliceBatch:
    """A float32 batch of some slices of a pool.

    Raises:
        StoreError: If a token is no finite number.
    """

    def tensor(name: str) -> torch.Tensor:
        # A copy even of float32: a batch that somebody keeps must not keep the pool.
        return torch.from_numpy(arrays[name][index]).to(torch.float32, copy=True)

    batch = SliceBatch(
        patches=tensor("patches"),
        foreground=tensor("foreground"),
        intensity=tensor("patch_intensity"),
        cls=tensor("cls"),
        height_mm=tensor("height_mm"),
        volume=torch.from_numpy(arrays["volume"][index].copy()),
        layers={name: tensor(name) for name in arrays if name.startswith("patches_")},
    )
    sums = [values.sum() for values in (batch.patches, batch.foreground, batch.cls, *batch.layers.values())]
    if not torch.isfinite(torch.stack(sums)).all():
        raise StoreError("a kept slice holds numbers that are not finite; run `slicecache cache verify`")
    return batch
