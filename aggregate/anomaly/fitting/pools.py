"""Chosen slices of volumes, the stretches of neighbours that are read together, and pools of stretches."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cache_schema.store.reader import VolumeEntry


@dataclass(frozen=True, slots=True)
class Chosen:
    """The slices of one volume that a stream gives."""

    entry: VolumeEntry
    number: int
    """`volume_number` of its key."""
    slices: NDArray[np.int64]
    """Positions among the volume's kept slices, ascending."""
    height_mm: NDArray[np.float32]
    """Of those slices."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Neighbouring slices of one volume that are read together."""

    chosen: Chosen
    start: int
    stop: int
    """Into the volume's chosen slices."""


def runs_of_equal(labels: NDArray[np.int64]) -> list[NDArray[np.intp]]:
    """Places of each run of equal labels."""
    return np.split(np.arange(len(labels)), np.flatnonzero(np.diff(labels)) + 1)


def pools_of(stretches: Sequence[Stretch], size: int) -> Iterator[list[Stretch]]:
    """Consecutive stretches of together at most `size` slices; at least one."""
    pool: list[Stretch] = []
    count = 0
    for stretch in stretches:
        length = stretch.stop - stretch.start
        if pool and count + length > size:
            yield pool
            pool, count = [], 0
        pool.append(stretch)
        count += length
    if pool:
        yield pool
