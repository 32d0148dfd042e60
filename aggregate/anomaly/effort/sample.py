"""The first slices of a study's store, read as a fit reads them, and how fast they come."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from aggregate.anomaly.detectors.base import SliceBatch
from aggregate.anomaly.fitting.rebatch import join
from aggregate.anomaly.fitting.stream import SliceStream, open_stream
from aggregate.anomaly.reference.group import StudyVolume
from aggregate.anomaly.reference.prepare import StoreWork

SAMPLED = 64
"""Slices of the fit that detectors are tried on: a batch of the one that asks for most."""
JUDGED = 32
"""Slices that are scored."""
VOLUMES = 8
"""At most, that they are read from."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Slices in memory, and what reading them took."""

    fit: SliceBatch
    judged: SliceBatch
    """Of one volume outside the fit."""
    first: float
    """Seconds of a slice that is read for the first time in a process, which is then held to its proof."""
    again: float
    """Of every later time."""


def sample_of(work: StoreWork, budget: int) -> Sample:
    """Read the first volumes.

    Args:
        work: The store and its volumes.
        budget: Bytes of slices in memory.

    Raises:
        StoreError: If one of them is damaged.
    """
    stream = _few(work, work.part("fit"), SAMPLED, budget)
    fit, first = _timed(stream)
    _, again = _timed(stream)
    judged = _few(work, work.part("calibration")[:1], JUDGED, budget)
    return Sample(fit, next(batch for _, batch in judged.in_order(JUDGED)), first, again)


def _few(work: StoreWork, members: Sequence[StudyVolume], slices: int, budget: int) -> SliceStream:
    """The volumes that have so many slices together."""
    taken: list[StudyVolume] = []
    for member in members[:VOLUMES]:
        if sum(map(count_slices, taken)) >= slices:
            break
        taken.append(member)
    chosen = {member.key: member.slices for member in taken if member.slices is not None}
    return open_stream(work.store, [member.entry for member in taken], chosen, budget=budget)


def count_slices(member: StudyVolume) -> int:
    """Of the reference group, where a volume has others."""
    return member.entry.n_slices if member.slices is None else len(member.slices)


def _timed(stream: SliceStream) -> tuple[SliceBatch, float]:
    """All slices of a stream, and the seconds of each; what is more than the sample is let go."""
    start, held = time.perf_counter(), 0
    pieces: list[SliceBatch] = []
    for piece in stream.shuffled(0):
        if held < SAMPLED:
            pieces.append(piece)
            held += len(piece)
    seconds = (time.perf_counter() - start) / stream.n_slices
    return join(pieces), seconds
