"""How long it takes to keep, look at, measure and draw what a detector has scored, seen on two volumes."""

import os
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from aggregate.anomaly.detectors.base import Detector
from aggregate.anomaly.effort.pace import timed
from aggregate.anomaly.findings.measure import held_out, labelled, measure_fitted
from aggregate.anomaly.findings.rows import volume_row
from aggregate.anomaly.fitting.stream import open_stream
from aggregate.anomaly.maps.maps import write_volume_map
from aggregate.anomaly.reference.group import StudyVolume
from aggregate.anomaly.reference.prepare import StoreWork
from aggregate.anomaly.scoring.execute import reader
from aggregate.anomaly.scoring.finished import ScoreBook
from aggregate.anomaly.scoring.fitted import Fitted, calibrated
from aggregate.anomaly.scoring.volumes import score_volumes
from aggregate.anomaly.spec import DetectSpec


@dataclass(frozen=True, slots=True)
class Aftermath:
    """Seconds of one fit; nothing of it depends on which detector it is."""

    keeping: float
    """A volume's scores are written."""
    looking: float
    """They are read again, and a row is made of them."""
    measuring: float
    """A volume's voxels are counted; 0 where no truth is known."""
    intervals: float
    """What measuring takes whatever the number of volumes."""
    drawing: float
    """A map is written."""
    map_bytes: int


def aftermath_of(work: StoreWork, detect: DetectSpec, detector: Detector, images: Path | None) -> Aftermath:
    """Go through it with one detector.

    Args:
        work: The store and its volumes.
        detect: Says whether there are maps, and how scores are standardised.
        detector: Fitted, and quick.
        images: Root of the images.

    Raises:
        SlicecacheError: If a mask or a volume cannot be read.
    """
    normal = work.part("calibration")[0]
    truth = work.truth
    known = [member for member in held_out(work.members) if truth is not None and truth.known(member.key)]
    volume = (known or held_out(work.members) or [normal])[0]
    with tempfile.TemporaryDirectory() as name:
        book = ScoreBook.open(Path(name) / "scores", "probe")
        keeping = max(_score(work, member, detector, book) for member in (normal, volume))
        read = reader(work, book)
        fitted = calibrated("probe", detector, True, [normal], read, detect.per_height)
        read(volume)  # its surroundings are kept
        looking, _ = timed(lambda: _look(fitted, volume, book, work))
        once = twice = 0.0
        if known and truth is not None:
            labels = labelled([volume], truth)
            _, once, twice = (  # what runs for the first time is slow
                timed(partial(measure_fitted, fitted, [volume] * n, truth, labels, read))[0]
                for n in (1, 1, 2)
            )
        drawing, size = _draw(Path(name), fitted, volume, book, work, images)
    return Aftermath(keeping, looking, max(0.0, twice - once), max(0.0, 2 * once - twice), drawing, size)


def _score(work: StoreWork, member: StudyVolume, detector: Detector, book: ScoreBook) -> float:
    """Score a volume, and the seconds of keeping that."""
    ((entry, (scores,)),) = score_volumes(open_stream(work.store, [member.entry]), lambda _: [detector])
    return timed(lambda: book.write(entry, scores))[0]


def _look(fitted: Fitted, member: StudyVolume, book: ScoreBook, work: StoreWork) -> None:
    raw, around = reader(work, book)(member)
    volume_row(member.key, member.part, fitted, fitted.scaled(raw, around), around)


def _draw(
    folder: Path, fitted: Fitted, member: StudyVolume, book: ScoreBook, work: StoreWork, images: Path | None
) -> tuple[float, int]:
    """Seconds and bytes of a map."""
    raw, around = reader(work, book)(member)
    scores = fitted.scaled(raw, around).tokens
    seconds, (path, _) = timed(lambda: write_volume_map(folder, member.record, "probe", scores, root=images))
    return seconds, os.stat(path).st_size
