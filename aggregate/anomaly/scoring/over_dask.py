"""Scores by the workers of a dask scheduler: a volume per task; what was fitted comes from the run folder.

A worker reads the detectors' states from the checkpoints and writes scores into the books, so the folder of
the run must be seen by all of them; only the number of slices passes the scheduler.
"""

import os
import threading
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch

from aggregate.anomaly.detectors.base import Detector, DetectorBase, Reference, layers_of
from aggregate.anomaly.fitting.checkpoint import Identity, checkpoint_path, read_checkpoint
from aggregate.anomaly.fitting.stream import open_stream
from aggregate.anomaly.scoring.finished import ScoreBook
from aggregate.anomaly.scoring.volumes import score_volumes
from aggregate.anomaly.scoring.wanted import Wanted
from cache_schema.cluster.pool import DaskPool, threads_here
from cache_schema.common.custom import permit_targets
from cache_schema.common.errors import ConfigError, StoreError
from cache_schema.common.prove import Prove
from cache_schema.common.terminal.progress import Progress
from cache_schema.format.identity import VolumeKey
from cache_schema.store.reader import StoreReader, open_store


@dataclass(frozen=True, slots=True)
class DaskScorer:
    """A `Scorer` that gives the volumes away."""

    pool: DaskPool
    base: Path
    """The pipeline's folder, where detectors from outside are looked for."""
    prove: Prove

    def __call__(self, wanted: Wanted, progress: Progress | None) -> None:
        """Have everything scored.

        Raises:
            ConfigError: If a worker cannot take part.
            MachineError: If there are no workers any more.
            StoreError: If the store is damaged.
        """
        recipe = Recipe(
            store=everywhere(wanted.store.location),
            prove=self.prove,
            base=self.base.absolute(),
            specs=tuple(detector.spec for detector in wanted.detectors),
            identities=wanted.identities,
            books=tuple(ScoreBook(book.folder.absolute()) for book in wanted.books),
            reference=wanted.reference,
            checkpoints=wanted.checkpoints.absolute(),
            budget=wanted.budget,
        )
        slices = {key: n for key in wanted.missing if (n := wanted.store.entry(key).n_slices)}
        largest_first = sorted(slices, key=lambda key: (-slices[key], key))
        asked = [(key, wanted.missing[key]) for key in largest_first]
        done, total = 0, sum(slices.values())
        for _, n in self.pool.each(
            partial(open_bench, recipe), score_volume, asked, lambda each: str(each[0])
        ):
            done += n
            if progress is not None:
                progress(done, total)


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a worker makes its bench of."""

    store: str
    prove: Prove
    base: Path
    specs: tuple[DetectorBase, ...]
    identities: tuple[Identity, ...]
    books: tuple[ScoreBook, ...]
    reference: Reference
    checkpoints: Path
    budget: int


@dataclass(frozen=True, slots=True)
class Bench:
    """What a worker's process keeps: the store and the fitted detectors."""

    store: StoreReader
    detectors: tuple[Detector, ...]
    books: tuple[ScoreBook, ...]
    budget: int
    turn: threading.Lock = field(default_factory=threading.Lock)
    """Of its threads one scores, by all its cores, while the others read."""


def open_bench(recipe: Recipe) -> Bench:
    """Open the store, and give fresh detectors their states.

    Raises:
        ConfigError: If a detector's code is another one here.
        StoreError: If the store or a checkpoint is not seen from here.
    """
    torch.set_num_threads(threads_here())
    # Whoever typed the command has permitted them there; what a store names stays forbidden here, too.
    permit_targets([spec.model_dump(mode="json") for spec in recipe.specs], recipe.base)
    detectors = tuple(
        fitted_again(spec, identity, recipe)
        for spec, identity in zip(recipe.specs, recipe.identities, strict=True)
    )
    return Bench(open_store(recipe.store, recipe.prove), detectors, recipe.books, recipe.budget)


def fitted_again(spec: DetectorBase, identity: Identity, recipe: Recipe) -> Detector:
    """A detector with the state that its fit has left.

    Raises:
        ConfigError: If its code is another one here.
        StoreError: If its checkpoint is not seen from here.
    """
    detector = spec.build(identity.seed)
    if detector.source != identity.source:
        raise ConfigError(f"the code of the detector {spec.called} is not the one that it was fitted with")
    detector.start(recipe.reference)
    if detector.epochs == 0:  # nothing was fitted, and nothing written
        return detector
    found = read_checkpoint(recipe.checkpoints, identity)
    if found is None or not found.complete:
        path = checkpoint_path(recipe.checkpoints, identity)
        raise StoreError(
            f"the fitted detector {str(path)!r} is not there; workers must see the run folder under the same "
            "path"
        )
    detector.load_state(found.state)
    return detector


def score_volume(bench: Bench, asked: tuple[VolumeKey, tuple[int, ...]]) -> int:
    """Score one volume by some of the detectors, and write that down; its slices.

    Raises:
        StoreError: If the store is damaged.
    """
    key, places = asked
    detectors = [bench.detectors[n] for n in places]
    layers = layers_of(detector.spec for detector in detectors)
    stream = open_stream(bench.store, [bench.store.entry(key)], budget=bench.budget, layers=layers)
    for entry, scores in score_volumes(stream, lambda _: detectors, turn=bench.turn):
        for n, own in zip(places, scores, strict=True):
            bench.books[n].write(entry, own)
    return stream.n_slices


def everywhere(location: str) -> str:
    """A store's place, whichever folder one looks from."""
    return location if "://" in location else os.path.abspath(location)
