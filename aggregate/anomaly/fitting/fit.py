"""The fitting engine: one read of the reference for all detectors, epoch by epoch, resumable.

After each epoch every detector's state is written (see `checkpoint.py`). A fit that was killed goes on
behind the last whole epoch and ends at the same model, since the order of slices follows from the
stream's seed and the epoch's number alone.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from aggregate.anomaly.detectors.base import Detector, SliceBatch
from aggregate.anomaly.fitting.checkpoint import Checkpoint, Identity, read_checkpoint, write_checkpoint
from aggregate.anomaly.fitting.rebatch import Rebatch
from aggregate.anomaly.fitting.stream import PIECE, SliceStream
from cache_schema.common.terminal.progress import Progress


@dataclass(slots=True)
class Fitting:
    """A detector on its way."""

    detector: Detector
    identity: Identity
    epoch: int = 0
    """Whole epochs behind it."""
    complete: bool = False
    gives_loss: bool = True
    """Until it is known otherwise."""


def fit(
    detectors: Sequence[Detector],
    stream: SliceStream,
    calibration: SliceStream | None = None,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> None:
    """Fit detectors to the same slices; their own seeds may differ.

    Args:
        detectors: Fresh ones, each of another spec or seed.
        stream: Of the reference group.
        calibration: Normal slices outside the fit, by whose loss a detector may choose its epoch.
        folder: For checkpoints; None writes none. What lies there of this very fit is gone on with.
        progress: Told of every piece that was read, over all epochs.

    Raises:
        SlicecacheError: If a detector refuses the reference or gives up.
        StoreError: If the store is damaged.
    """
    fittings = [_prepare(detector, stream, calibration, folder) for detector in detectors]
    while open_fits := [fitting for fitting in fittings if not fitting.complete]:
        epoch = min(fitting.epoch for fitting in open_fits)
        # After a kill between two checkpoints, some are an epoch ahead of the others.
        due = [fitting for fitting in open_fits if fitting.epoch == epoch]
        most = max(fitting.detector.epochs for fitting in open_fits)
        _run_epoch(due, stream, epoch, most, progress)
        losses = _held_out(due, calibration)
        for fitting, loss in zip(due, losses, strict=True):
            fitting.complete = fitting.detector.end_epoch(epoch, loss)
            fitting.epoch = epoch + 1
            _save(fitting, folder)


def _prepare(
    detector: Detector, stream: SliceStream, calibration: SliceStream | None, folder: Path | None
) -> Fitting:
    """Start a detector, from its checkpoint if there is one."""
    detector.start(stream.reference)
    identity = identity_of(detector, stream, calibration)
    fitting = Fitting(detector, identity, complete=detector.epochs == 0)
    found = None if folder is None else read_checkpoint(folder, identity)
    if found is not None:
        detector.load_state(found.state)
        fitting.epoch, fitting.complete = found.epoch, found.complete
        logging.getLogger("slicecache").info(
            "%s, seed %d: going on behind epoch %d", detector.spec.kind, detector.seed, found.epoch
        )
    return fitting


def identity_of(detector: Detector, stream: SliceStream, calibration: SliceStream | None) -> Identity:
    """What a detector's fit follows from."""
    return Identity(
        # What views hold is in the stream's digest; their names may be paths that change.
        detector=detector.spec.model_dump(mode="json", exclude={"views"}),
        seed=detector.seed,
        stream=stream.digest,
        calibration=None if calibration is None else calibration.digest,
        source=detector.source,
    )


def _run_epoch(
    due: Sequence[Fitting], stream: SliceStream, epoch: int, epochs: int, progress: Progress | None
) -> None:
    """Show every due detector all slices once."""
    done = epoch * stream.n_slices

    def watched() -> Iterator[SliceBatch]:
        nonlocal done
        for piece in stream.shuffled(epoch):
            yield piece
            done += len(piece)
            if progress is not None:
                progress(done, epochs * stream.n_slices)

    for batch, fittings in _shared(watched(), due):
        for fitting in fittings:
            fitting.detector.observe(batch.of(fitting.detector.spec.tokens), epoch)


def _shared(
    pieces: Iterator[SliceBatch], due: Sequence[Fitting]
) -> Iterator[tuple[SliceBatch, list[Fitting]]]:
    """Batches of each size that a detector asked for, with those who asked."""
    sizes = sorted({fitting.detector.batch_slices for fitting in due})
    by_size = [
        (Rebatch(size), [fitting for fitting in due if fitting.detector.batch_slices == size])
        for size in sizes
    ]
    for piece in pieces:
        for rebatch, fittings in by_size:
            for batch in rebatch.push(piece):
                yield batch, fittings
    for rebatch, fittings in by_size:
        for batch in rebatch.rest():
            yield batch, fittings


def _held_out(due: Sequence[Fitting], calibration: SliceStream | None) -> list[float | None]:
    """Mean held-out loss of each detector; None for one that gives none."""
    totals = {id(fitting): 0.0 for fitting in due}
    asked = [fitting for fitting in due if fitting.gives_loss]
    if calibration is None or not asked:
        return [None] * len(due)
    pieces = (batch for _, batch in calibration.in_order(PIECE))
    for batch, fittings in _shared(pieces, asked):
        for fitting in fittings:
            own = batch.of(fitting.detector.spec.tokens)
            loss = fitting.detector.held_out_loss(own) if fitting.gives_loss else None
            fitting.gives_loss = loss is not None
            if loss is not None:
                totals[id(fitting)] += float(loss.double().sum())
        if not any(fitting.gives_loss for fitting in asked):
            break
    n = calibration.n_slices
    return [totals[id(fitting)] / n if fitting.gives_loss else None for fitting in due]


def _save(fitting: Fitting, folder: Path | None) -> None:
    """Write a checkpoint."""
    if folder is not None:
        state = fitting.detector.state()
        write_checkpoint(folder, Checkpoint(fitting.identity, fitting.epoch, fitting.complete, state))
