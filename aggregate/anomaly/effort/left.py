"""What a run that was cut short has left to do: epochs of each fit, volumes to be scored."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from aggregate.anomaly.detectors.base import Detector
from aggregate.anomaly.fitting.checkpoint import checkpoint_path, read_checkpoint
from aggregate.anomaly.fitting.fit import identity_of
from aggregate.anomaly.fitting.stream import SliceStream
from aggregate.anomaly.scoring.execute import CHECKPOINTS, SCORES
from aggregate.anomaly.scoring.finished import ScoreBook
from cache_schema.store.reader import VolumeEntry


@dataclass(frozen=True, slots=True)
class Left:
    """What one fit still has to do."""

    fitted: bool
    epochs: int
    """Behind it."""
    volumes: int
    slices: int
    """To be scored."""


def left_of(
    detector: Detector, streams: tuple[SliceStream, SliceStream], entries: Sequence[VolumeEntry], folder: Path
) -> Left:
    """Look for its checkpoint and its scores; nothing is written.

    Args:
        detector: Fresh.
        streams: Of the fit and of the calibration part.
        entries: To be scored.
        folder: The run folder, which need not be there.
    """
    identity = identity_of(detector, *streams)
    found = read_checkpoint(folder / CHECKPOINTS, identity)
    stem = checkpoint_path(folder, identity).stem
    missing = ScoreBook(folder / SCORES / stem).lacks(entries, identity.digest)
    return Left(
        fitted=found is not None and found.complete,
        epochs=0 if found is None else found.epoch,
        volumes=len(missing),
        slices=sum(entry.n_slices for entry in missing),
    )
