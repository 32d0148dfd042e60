"""One store's detectors from fit to scores: one read for all of them, and nothing done twice after a kill."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from aggregate.anomaly.detectors.base import Detector, layers_of
from aggregate.anomaly.fitting.checkpoint import Identity, checkpoint_path
from aggregate.anomaly.fitting.fit import fit, identity_of
from aggregate.anomaly.fitting.stream import SliceStream, open_stream
from aggregate.anomaly.reference.group import StudyVolume
from aggregate.anomaly.reference.prepare import DetectorTask, StoreWork
from aggregate.anomaly.scoring.finished import ScoreBook
from aggregate.anomaly.scoring.fitted import Fitted, Read, calibrated
from aggregate.anomaly.scoring.volumes import Surroundings, VolumeScores, surroundings
from aggregate.anomaly.scoring.wanted import Scorer, Wanted, missing_of, score_here
from aggregate.anomaly.spec import DetectSpec
from cache_schema.common.errors import StoreError
from cache_schema.common.terminal.progress import bar

CHECKPOINTS = "checkpoints"
SCORES = "scores"


@dataclass(frozen=True, slots=True)
class FinishedStore:
    """One store's detectors, fitted and calibrated, and the way to their scores."""

    work: StoreWork
    fitted: tuple[Fitted, ...]
    reads: Mapping[tuple[str, int], Read]
    """By name and seed: gives raw scores of volumes that were not fitted on."""
    streams: tuple[SliceStream, SliceStream]
    """Of the fit and of the calibration part."""
    n_scored: int
    """Volumes scored now, the others were found."""

    def read(self, fitted: Fitted, member: StudyVolume) -> tuple[VolumeScores, Surroundings]:
        """A volume's raw scores."""
        return self.reads[fitted.name, fitted.seed](member)


def finish_store(
    work: StoreWork, detect: DetectSpec, folder: Path, score: Scorer = score_here
) -> FinishedStore:
    """Fit, score and calibrate all detectors of a store.

    Args:
        work: The store and its tasks.
        detect: Says how.
        folder: The run folder.
        score: Scores volumes, here or elsewhere.

    Raises:
        SlicecacheError: If a detector refuses the reference group.
        StoreError: If the store is damaged.
    """
    budget = int(detect.memory_gib * 2**30)
    streams = reference_stream(work, "fit", budget), reference_stream(work, "calibration", budget)
    made = [(task, task.spec.build(seed)) for task in work.tasks for seed in range(task.seeds)]
    detectors = [detector for _, detector in made]
    sights = fit_streams(work, detectors, streams[0])
    with bar("fitting") as progress:
        for sight, stream in sights.items():
            due = [detector for detector in detectors if sight_of(detector) == sight]
            fit(due, stream, streams[1], folder / CHECKPOINTS, progress)
    identities = [identity_of(detector, sights[sight_of(detector)], streams[1]) for detector in detectors]
    books = [_book(identity, folder) for identity in identities]
    entries = [member.entry for member in work.members if member.part != "fit"]
    wanted = Wanted(
        work.store,
        missing_of(entries, books),
        tuple(detectors),
        tuple(identities),
        tuple(books),
        streams[0].reference,
        folder / CHECKPOINTS,
        budget,
    )
    if wanted.missing:
        with bar("scoring") as progress:
            score(wanted, progress)
    reads = [reader(work, book) for book in books]
    normals = work.part("calibration")
    with bar("thresholds") as progress:
        fitted = []
        for (task, detector), read in zip(made, reads, strict=True):
            fitted.append(_calibrated(task, detector, normals, read, detect))
            progress(len(fitted), len(made))
    by_name = {(one.name, one.seed): read for one, read in zip(fitted, reads, strict=True)}
    return FinishedStore(work, tuple(fitted), by_name, streams, len(wanted.missing))


def _calibrated(
    task: DetectorTask, detector: Detector, normals: Sequence[StudyVolume], read: Read, detect: DetectSpec
) -> Fitted:
    # A baseline stays as it is: standardising `position` takes its height away, and would only make it easier
    # to beat.
    per_height = detect.per_height and not task.baseline
    return calibrated(task.name, detector, task.baseline, normals, read, per_height)


def reference_stream(work: StoreWork, part: str, budget: int) -> SliceStream:
    """The slices of the reference group in one part."""
    members = work.part(part)
    slices = {member.key: member.slices for member in members if member.slices is not None}
    layers = layers_of(task.spec for task in work.tasks)
    return open_stream(work.store, [member.entry for member in members], slices, budget=budget, layers=layers)


Sight = tuple[bool, tuple[str, ...]]
"""Whether a detector is fitted on whoever is to be scored, and in which views besides."""


def sight_of(detector: Detector) -> Sight:
    """What a detector is fitted on."""
    return detector.spec.fits_scored, detector.spec.view_stores


def fit_streams(
    work: StoreWork, detectors: Sequence[Detector], reference: SliceStream
) -> dict[Sight, SliceStream]:
    """The slices of each sight: the reference group's, also seen otherwise, or everybody's to be scored."""
    scored = [member.entry for member in work.members if member.part != "fit"]
    found = {}
    for sight in dict.fromkeys(map(sight_of, detectors)):
        fits_scored, names = sight
        views = tuple(work.views[name] for name in names)
        if fits_scored:
            found[sight] = open_stream(
                work.store, scored, budget=reference.budget, layers=reference.layers, views=views
            )
        else:
            found[sight] = replace(reference, views=views)
    return found


def _book(identity: Identity, folder: Path) -> ScoreBook:
    """Where a fit's scores are kept."""
    return ScoreBook.open(folder / SCORES / checkpoint_path(folder, identity).stem, identity.digest)


def reader(work: StoreWork, book: ScoreBook) -> Read:
    """The way to one fit's raw scores."""
    around = lru_cache(maxsize=256)(lambda entry: surroundings(work.store, entry))

    def read(member: StudyVolume) -> tuple[VolumeScores, Surroundings]:
        scores = book.read(member.entry)
        if scores is None:
            raise StoreError(
                f"the scores of {member.key} in {book.folder.name} are gone; run the same command again"
            )
        return scores, around(member.entry)

    return read
