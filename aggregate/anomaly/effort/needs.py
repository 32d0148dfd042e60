"""Seconds, bytes and memory of a study of detectors: what is told, and the sums that it is made of."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aggregate.anomaly.effort.after import Aftermath
from aggregate.anomaly.effort.left import Left
from aggregate.anomaly.effort.pace import Pace
from aggregate.anomaly.effort.sample import Sample
from aggregate.anomaly.fitting.stream import SliceStream
from aggregate.anomaly.reference.prepare import DetectorTask, StoreWork
from aggregate.anomaly.spec import DetectSpec
from cache_schema.files.disk.room import in_units
from cache_schema.status.left import ago

UNSTEADY = 1.25
"""By which an idle machine is quicker or slower than it was in the probe."""


@dataclass(frozen=True, slots=True)
class StudyNeeds:
    """What a study still takes; an estimate."""

    seconds: Mapping[str, float]
    """Of this machine when it is idle, by stage."""
    bytes: int
    """In the run folder, of what is still to be written."""
    memory_bytes: int

    @property
    def total(self) -> float:
        """Seconds of all stages."""
        return sum(self.seconds.values())

    def as_json(self) -> dict[str, Any]:
        """As JSON data, in the words of `plan`."""
        hours = self.total / 3600
        return {
            "hours": hours,
            "hours_range": [hours / UNSTEADY, hours * UNSTEADY],
            "seconds_by_stage": {name: float(f"{value:.3g}") for name, value in self.seconds.items()},
            "bytes": self.bytes,
            "memory_bytes": self.memory_bytes,
            "measured": True,
            "estimate": True,
        }

    def sentence(self) -> str:
        """One line for a person."""
        least, most = ago(self.total / UNSTEADY), ago(self.total * UNSTEADY)
        told = f"about {most}" if least == most else f"{least} to {most}"
        stages = ", ".join(f"{name} {ago(value)}" for name, value in self.seconds.items() if value >= 1)
        return (
            f"estimate from a short probe: {told}{f' ({stages})' if stages else ''}, "
            f"{in_units(self.bytes)} in the run folder, {in_units(self.memory_bytes)} of memory"
        )


@dataclass(frozen=True, slots=True)
class ProbedFit:
    """One detector of one seed."""

    task: DetectorTask
    first: bool
    """Of its seeds: the one that maps are drawn of."""
    pace: Pace
    left: Left

    @property
    def due(self) -> range:
        """Epochs that are still to be run."""
        return range(self.pace.epochs if self.left.fitted else self.left.epochs, self.pace.epochs)


@dataclass(frozen=True, slots=True)
class ProbedStore:
    """One store, and what was seen of it."""

    work: StoreWork
    streams: tuple[SliceStream, SliceStream]
    """Of the fit and of the calibration part."""
    sample: Sample
    fits: Sequence[ProbedFit]
    after: Aftermath

    def volumes(self, *parts: str) -> int:
        """How many are in some parts."""
        return len(self.work.part(*parts))

    def maps(self, detect: DetectSpec) -> int:
        """That will be drawn."""
        parts = {"none": (), "test": ("test", "other"), "all": ("calibration", "test", "other")}[detect.maps]
        return self.volumes(*parts) * sum(fit.first and not fit.task.baseline for fit in self.fits)

    def seconds(self, detect: DetectSpec) -> Iterator[tuple[str, float]]:
        """By stage."""
        yield "fitting", fitting_seconds(self)
        yield "scoring", scoring_seconds(self)
        n, looking = len(self.fits), self.after.looking
        yield "thresholds", n * 2 * self.volumes("calibration") * looking
        yield (
            "measuring",
            n * (measuring_seconds(self) + self.volumes("calibration", "test", "other") * looking),
        )
        yield "maps", self.maps(detect) * (looking + self.after.drawing)

    @property
    def memory_bytes(self) -> int:
        """Of slices in memory, and of what detectors keep of the whole reference."""
        stream = self.streams[0]
        rows, cols = stream.reference.grid
        slices = 4 * stream.n_slices * rows * cols * stream.reference.dim
        return min(stream.budget, slices) + sum(fit.pace.memory_bytes for fit in self.fits)

    def bytes(self, detect: DetectSpec) -> int:
        """Scores, checkpoints, the bundle, maps."""
        rows, cols = self.streams[0].reference.grid
        scores = sum(fit.left.slices for fit in self.fits) * 4 * (rows * cols + 1)
        states = sum(fit.pace.state_bytes * (bool(fit.due) + (not fit.task.baseline)) for fit in self.fits)
        return scores + states + self.maps(detect) * self.after.map_bytes


def fitting_seconds(store: ProbedStore) -> float:
    """Every epoch reads the slices once, for all detectors that are due."""
    epochs = Counter(epoch for fit in store.fits for epoch in fit.due)
    n_fit, n_held_out = (stream.n_slices for stream in store.streams)
    seconds = 0.0
    for epoch in sorted(epochs):
        due = [fit.pace for fit in store.fits if epoch in fit.due]
        reading = store.sample.again if epoch > min(epochs) else store.sample.first
        seeing = sum(pace.later if epoch else pace.first for pace in due)
        judging = [pace.held_out for pace in due if pace.held_out is not None]
        seconds += n_fit * (reading + seeing) + sum(pace.closing for pace in due)
        seconds += n_held_out * (reading + sum(judging)) if judging else 0.0
    return seconds


def scoring_seconds(store: ProbedStore) -> float:
    """Every volume is read once for all detectors that have not scored it."""
    reading = store.sample.first * max((fit.left.slices for fit in store.fits), default=0)
    return reading + sum(
        fit.left.slices * fit.pace.scoring + fit.left.volumes * store.after.keeping for fit in store.fits
    )


def measuring_seconds(store: ProbedStore) -> float:
    """Of one fit."""
    truth, outside = store.work.truth, store.work.part("test", "other")
    known = sum(truth is not None and truth.known(member.key) for member in outside)
    counted = known * store.after.measuring + store.after.intervals if known else 0.0
    return counted + 2 * (len(outside) - known) * store.after.looking
