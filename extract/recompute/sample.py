"""Which slices of a store are made again."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from cache_schema.common.errors import ConfigError
from cache_schema.store.reader import VolumeEntry
from extract.slices.prepare import PreparedVolume


def draw_slices(entries: Sequence[VolumeEntry], count: int, seed: int) -> list[tuple[VolumeEntry, list[int]]]:
    """Slices drawn evenly over all slices of the store, by volume, places in increasing order.

    Raises:
        ConfigError: If the store has no volume.
    """
    ends = np.cumsum([entry.n_slices for entry in entries])
    if not len(ends):
        raise ConfigError("the store has no committed volume to recompute")
    total = int(ends[-1])
    chosen = np.sort(np.random.default_rng(seed).choice(total, min(count, total), replace=False))
    owners = np.searchsorted(ends, chosen, side="right")
    places: dict[int, list[int]] = {}
    for owner, place in zip(owners.tolist(), chosen.tolist(), strict=True):
        places.setdefault(owner, []).append(place - int(ends[owner]) + entries[owner].n_slices)
    return [(entries[owner], inside) for owner, inside in places.items()]


def some_slices(prepared: PreparedVolume, places: Sequence[int]) -> PreparedVolume:
    """Only the slices at these places of the kept ones."""
    slices = prepared.draft.slices
    chosen = slices.model_copy(
        update={
            name: tuple(getattr(slices, name)[place] for place in places)
            for name in ("index", "height_mm", "world_z_mm")
        }
    )
    draft = prepared.draft.model_copy(update={"slices": chosen})
    index = list(places)
    return replace(
        prepared, draft=draft, images=prepared.images[index], mask=prepared.mask[index], firsts=None
    )
