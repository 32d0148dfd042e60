"""How fast this machine fits and scores with one detector, seen on a few slices in a second or two."""

import itertools
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

from aggregate.anomaly.detectors.base import Detector, Reference, SliceBatch
from aggregate.anomaly.effort.sample import Sample
from aggregate.anomaly.fitting.checkpoint import Checkpoint, Identity, write_checkpoint
from aggregate.anomaly.scoring.volumes import score_batch

Found = TypeVar("Found")

SECONDS, CALLS = 0.5, 6
"""After either nothing is called again for its time."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds of one detector that sees the whole reference."""

    epochs: int
    first: float
    """A slice, in the first epoch."""
    later: float
    """A slice, in each of the others."""
    held_out: float | None
    """The loss of a slice outside the fit; None where there is none."""
    closing: float
    """The end of an epoch, its checkpoint included."""
    scoring: float
    """A slice."""
    state_bytes: int
    """Of what is kept."""
    memory_bytes: int
    """While it is fitted, beyond what the probe itself took."""


def pace_of(detector: Detector, sample: Sample, reference: Reference) -> Pace:
    """Try a fresh detector.

    What is worked out of all slices at the end of an epoch, and scores against what was kept of them, are
    seen on a batch and grow as the detector says (`Detector.growth`).

    Args:
        detector: Of any seed.
        sample: Slices.
        reference: The whole that it will be told of.

    Raises:
        SlicecacheError: If it refuses the reference, or the few slices.
    """
    batches = [
        sample.fit.take(slice(start, start + detector.batch_slices))
        for start in range(0, len(sample.fit), detector.batch_slices)
    ]
    detector.start(reference)
    epochs, seen = detector.epochs, len(batches[0])
    first = later = closing = 0.0
    held_out: float | None = None
    if epochs == 1:
        first = _each(lambda batch: detector.observe(batch, 0), batches)
        detector.start(reference)
    for epoch in range(min(2, epochs)):
        took, _ = timed(partial(detector.observe, batches[0], epoch))
        if epoch:
            later = _each(lambda batch: detector.observe(batch, 1), batches)
        elif epochs > 1:
            first = took / seen
        took, loss = timed(partial(detector.held_out_loss, sample.judged))
        held_out = None if loss is None else took / len(sample.judged)
        mean = None if loss is None else float(loss.double().mean())
        closing, _ = timed(partial(detector.end_epoch, epoch, mean))
    scoring = _each(lambda batch: score_batch(detector, batch), [sample.judged])
    few, whole = detector.growth(seen), detector.growth(reference.n_slices)
    state = sum(value.numel() * value.element_size() for value in detector.state().values())
    writing = _checkpoint_seconds(detector) if epochs else 0.0
    return Pace(
        epochs=epochs,
        first=first,
        later=later,
        held_out=held_out,
        closing=closing * whole.closing / few.closing + writing * whole.scoring / few.scoring,
        scoring=scoring * whole.scoring / few.scoring,
        state_bytes=int(state * whole.scoring / few.scoring),
        memory_bytes=4 * (whole.numbers - few.numbers),
    )


def _each(call: Callable[[SliceBatch], Any], batches: Sequence[SliceBatch]) -> float:
    """Median seconds of a slice; the first call, which makes ready, counts only where it is the last."""
    taken: list[float] = []
    began = time.perf_counter()
    for batch in itertools.islice(itertools.cycle(batches), CALLS):
        seconds, _ = timed(partial(call, batch))
        taken.append(seconds / len(batch))
        if time.perf_counter() - began > SECONDS:
            break
    return median(taken[1:] or taken)


def timed(call: Callable[[], Found]) -> tuple[float, Found]:
    """Seconds, and what came of it."""
    start = time.perf_counter()
    found = call()
    return time.perf_counter() - start, found


def _checkpoint_seconds(detector: Detector) -> float:
    """Of writing one, somewhere else than in the run folder."""
    made_up = Identity(detector=detector.spec.model_dump(mode="json"), seed=detector.seed, stream="")
    with tempfile.TemporaryDirectory() as name:
        seconds, _ = timed(
            lambda: write_checkpoint(Path(name), Checkpoint(made_up, 1, True, detector.state()))
        )
    return seconds
