"""What is still to be scored, and the scorer of this process: one read of the store for all detectors."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from aggregate.anomaly.detectors.base import Detector, Reference, layers_of
from aggregate.anomaly.fitting.checkpoint import Identity
from aggregate.anomaly.fitting.stream import open_stream
from aggregate.anomaly.scoring.finished import ScoreBook
from aggregate.anomaly.scoring.volumes import score_volumes
from cache_schema.common.terminal.progress import Progress
from cache_schema.format.identity import VolumeKey
from cache_schema.store.reader import StoreReader, VolumeEntry


@dataclass(frozen=True, slots=True)
class Wanted:
    """Volumes and fitted detectors, and the books that get their scores."""

    store: StoreReader
    missing: Mapping[VolumeKey, tuple[int, ...]]
    """The places of the detectors that have not scored a volume."""
    detectors: tuple[Detector, ...]
    identities: tuple[Identity, ...]
    """What each detector's fit follows from."""
    books: tuple[ScoreBook, ...]
    reference: Reference
    """What the detectors were told of the slices that they were fitted on."""
    checkpoints: Path
    """Folder with their states."""
    budget: int
    """Bytes of slices in memory."""


Scorer = Callable[[Wanted, Progress | None], None]
"""Writes all that is wanted into the books, and tells how many slices are done, of how many."""


def missing_of(
    entries: Sequence[VolumeEntry], books: Sequence[ScoreBook]
) -> dict[VolumeKey, tuple[int, ...]]:
    """The places of the books that lack a volume, for those that any book lacks."""
    found = ((entry, tuple(n for n, book in enumerate(books) if not book.has(entry))) for entry in entries)
    return {entry.key: absent for entry, absent in found if absent}


def score_here(wanted: Wanted, progress: Progress | None) -> None:
    """Score in this process."""
    entries = [wanted.store.entry(key) for key in wanted.missing]
    layers = layers_of(detector.spec for detector in wanted.detectors)
    stream = open_stream(wanted.store, entries, budget=wanted.budget, layers=layers)

    def asked(entry: VolumeEntry) -> list[Detector]:
        return [wanted.detectors[n] for n in wanted.missing[entry.key]]

    for entry, scores in score_volumes(stream, asked, progress=progress):
        for n, own in zip(wanted.missing[entry.key], scores, strict=True):
            wanted.books[n].write(entry, own)
