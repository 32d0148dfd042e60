"""A bundle of detectors on the workers of a dask scheduler: a volume per task.

A worker reads the bundle and the store itself and writes maps itself, so all three places must be seen by all
of them; what passes the scheduler is what the detectors say of a volume as a whole.
"""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch

from aggregate.anomaly.fitting.stream import open_stream
from aggregate.anomaly.scoring.fitted import Judged
from aggregate.anomaly.scoring.over_dask import everywhere
from aggregate.anomaly.study.bundle import load_detectors
from aggregate.anomaly.study.predict import Asked, judged_volumes
from aggregate.common.run_folder import permit_bundle
from cache_schema.cluster.pool import DaskPool, threads_here
from cache_schema.common.errors import SlicecacheError
from cache_schema.common.prove import Prove
from cache_schema.common.terminal.progress import Progress
from cache_schema.format.identity import VolumeKey
from cache_schema.store.reader import open_store


@dataclass(frozen=True, slots=True)
class DaskJudge:
    """A `Judge` that gives the volumes away."""

    pool: DaskPool
    bundle: Path
    """Its folder."""
    prove: Prove
    allow_custom: bool
    """Whether what the bundle names may be imported."""

    def __call__(self, asked: Asked, progress: Progress | None) -> Iterator[tuple[VolumeKey, list[Judged]]]:
        """Have everything scored.

        Raises:
            ConfigError: If a worker cannot take part.
            MachineError: If there are no workers any more.
            StoreError: If the store is damaged.
        """
        recipe = Recipe(
            bundle=self.bundle.absolute(),
            weights_sha256=asked.bundle.card.weights_sha256,
            code=Path.cwd() if self.allow_custom else None,
            store=everywhere(asked.store.location),
            prove=self.prove,
            maps=None if asked.maps is None else asked.maps.absolute(),
        )
        slices = {entry.key: entry.n_slices for entry in asked.entries if entry.n_slices}
        largest_first = sorted(slices, key=lambda key: (-slices[key], key))
        done, total = 0, sum(slices.values())
        for key, judged in self.pool.each(partial(open_bench, recipe), judge_volume, largest_first, str):
            yield key, judged
            done += slices[key]
            if progress is not None:
                progress(done, total)


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a worker makes its bench of."""

    bundle: Path
    weights_sha256: str
    code: Path | None
    """Where parts from outside are looked for; None when they are not allowed."""
    store: str
    prove: Prove
    maps: Path | None


@dataclass(frozen=True, slots=True)
class Bench:
    """What a worker's process keeps."""

    asked: Asked
    """Without volumes."""
    turn: threading.Lock = field(default_factory=threading.Lock)
    """Of its threads one scores, by all its cores, while the others read."""


def open_bench(recipe: Recipe) -> Bench:
    """Read the bundle and open the store.

    Raises:
        SlicecacheError: If one of them is not seen from here, or another one.
    """
    torch.set_num_threads(threads_here())
    if recipe.code is not None:
        permit_bundle(recipe.bundle, recipe.code)
    bundle = load_detectors(recipe.bundle)
    if bundle.card.weights_sha256 != recipe.weights_sha256:
        raise SlicecacheError(f"the bundle {str(recipe.bundle)!r} is another one than the command has read")
    return Bench(Asked(bundle, open_store(recipe.store, recipe.prove), (), recipe.maps))


def judge_volume(bench: Bench, key: VolumeKey) -> list[Judged]:
    """What the detectors say of one volume.

    Raises:
        StoreError: If the store is damaged.
    """
    store = bench.asked.store
    stream = open_stream(store, [store.entry(key)], layers=bench.asked.bundle.layers)
    ((_, judged),) = judged_volumes(bench.asked, stream, turn=bench.turn)
    return judged
