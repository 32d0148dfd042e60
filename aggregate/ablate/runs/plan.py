"""What an ablation will do, before it does it: how many runs, about how long, how much memory."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from aggregate.ablate.grid.sources import Source
from aggregate.ablate.runs.jobs import Job, Portion, kind_of
from aggregate.ablate.runs.trainer import train_portion
from aggregate.bags.bags import Bags
from aggregate.training.feeding.streams import steps_of
from aggregate.training.inner import INNER_FOLDS, PATIENCE, inner_epochs
from aggregate.training.steps.blocks import BLOCK_BYTES
from cache_schema.common.errors import SlicecacheError
from cache_schema.common.text.counts import counted

INNER_SHARE = (INNER_FOLDS - 1) / INNER_FOLDS
"""Of a run's bags that an inner one learns from."""
PROBE_SECONDS, GROWTH = 0.5, 4
"""How long the epochs behind a probe's first are to take, and how their number grows until they do."""
OVERHEAD_BYTES = 400 * 2**20
"""Of Python, torch and pandas."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Numbers of the plan line."""

    n_configurations: int
    n_distinct: int
    """Configurations that train something that no other trains."""
    n_folds: int
    n_repeats: int
    n_seeds: int
    n_runs: int
    """That the table is made of."""
    n_inner: int
    """That inner folds add for the choice."""
    n_shuffled: int
    """On permuted labels."""
    n_kept: int
    """Of all these, already in the journal."""
    seconds_least: float
    """If every run stops as early as it may; measured on an epoch of each head and multiplied."""
    seconds_most: float
    """If none stops early."""
    memory_bytes: int

    @property
    def n_all(self) -> int:
        """Trainings altogether."""
        return self.n_runs + self.n_inner + self.n_shuffled

    def as_json(self) -> dict[str, Any]:
        """The plan as `--plan --json` prints it."""
        return {
            "configurations": self.n_configurations,
            "folds": self.n_folds,
            "repeats": self.n_repeats,
            "seeds": self.n_seeds,
            "runs": self.n_runs,
            "inner_runs": self.n_inner,
            "shuffled_runs": self.n_shuffled,
            "already_done": self.n_kept,
            "seconds": [round(self.seconds_least, 1), round(self.seconds_most, 1)],
            "memory_bytes": self.memory_bytes,
        }

    def sentence(self) -> str:
        """The plan line."""
        same = self.n_configurations - self.n_distinct
        ends = "s" * (same == 1)
        alike = f" ({same} of which equal{ends} another and train{ends} with it)" if same else ""
        parts = [
            f"{counted(self.n_configurations, 'configuration')}{alike} x "
            f"{counted(self.n_folds, 'fold')} x {counted(self.n_repeats, 'repeat')} x "
            f"{counted(self.n_seeds, 'seed')} = {counted(self.n_runs, 'run')}"
        ]
        if self.n_inner:
            parts.append(f"{counted(self.n_inner, 'run')} on inner folds")
        if self.n_shuffled:
            parts.append(f"{counted(self.n_shuffled, 'run')} on shuffled labels")
        if self.n_kept:
            parts.append(f"{self.n_kept} are done already")
        return (
            f"{'; '.join(parts)}. Estimate from a short probe: {self.time_words()}; memory about "
            f"{self.memory_bytes / 2**30:.1f} GiB"
        )

    def time_words(self) -> str:
        """`40 s`, or `2 min to 8 min, as early as runs stop`."""
        least, most = duration(self.seconds_least), duration(self.seconds_most)
        return most if least == most else f"{least} to {most}, as early as runs stop"


def duration(seconds: float) -> str:
    """`40 s`, `12 min` or `3.5 h`."""
    if seconds < 120:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


@dataclass(frozen=True, slots=True)
class Pace:
    """What the runs of one kind cost, each its share of what a portion of them took."""

    begin: float
    """Seconds of a run before its first step: its start at the baseline, its share of the tokens."""
    step: float
    """Seconds of a step, with those that its inner runs take in the same time."""


def paces(portions: Sequence[Portion], source: Source, bags: Bags) -> dict[str, Pace]:
    """Time one portion of every kind for one epoch, and for a few more: what they differ by is the steps'."""
    first: dict[str, Portion] = {}
    for portion in portions:
        first.setdefault(kind_of(portion.jobs[0]), portion)
    found: dict[str, Pace] = {}
    for index, (kind, portion) in enumerate(first.items()):
        try:
            found[kind] = _pace(portion, source, bags, warm=index > 0)
        except SlicecacheError:
            # A head of another source may not read these bags; that it does not read its own, training says.
            found[kind] = max(found.values(), key=lambda pace: pace.step, default=Pace(0.0, 0.0))
    return found


def _pace(portion: Portion, source: Source, bags: Bags, warm: bool) -> Pace:
    """Of one portion; what runs for the first time is slow, and runs once before."""
    if not warm:
        _timed(portion, 1, source, bags)
    once = _timed(portion, 1, source, bags)
    more, most = 1, max(2, *(job.run.training.epochs - 1 for job in portion.jobs))
    spent = 0.0
    while spent < PROBE_SECONDS and more < most:  # a few steps tell more of the machine than of the steps
        more = min(more * GROWTH, most)
        spent = max(0.0, _timed(portion, 1 + more, source, bags) - once)
    steps = sum(steps_of(job.run) for job in portion.jobs)
    step = spent / (more * steps)
    return Pace(max(0.0, once - step * steps) / len(portion.jobs), step)


def _timed(portion: Portion, epochs: int, source: Source, bags: Bags) -> float:
    """Seconds of a portion that is cut short."""
    jobs = [_of_epochs(job, epochs) for job in portion.jobs]
    start = time.perf_counter()
    train_portion(jobs, source, bags)
    return time.perf_counter() - start


def _of_epochs(job: Job, epochs: int) -> Job:
    """The same run cut short, and its inner ones with it."""
    train = job.run.train.model_copy(update={"epochs": epochs, "patience": None})
    return Job(replace(job.run, train=train), job.fold)


def expected_seconds(jobs: Sequence[Job], found: Mapping[str, Pace]) -> tuple[float, float]:
    """What these jobs take if all stop as early as they may, and if none stops early."""
    soonest = latest = 0.0
    for job in jobs:
        pace, most = found[kind_of(job)], job.run.training.epochs
        whole = pace.step * steps_of(job.run) * most
        latest += pace.begin + whole
        inside = inner_epochs(job.run) * INNER_SHARE
        fewest_inside = inside * (min(1.0, (PATIENCE + 1) / most) if job.run.chooses else 1.0)
        soonest += pace.begin + whole * (_fewest_epochs(job) + fewest_inside) / (most + inside)
    return soonest, latest


def _fewest_epochs(job: Job) -> int:
    """A run that is never better than in its first epoch ends when its patience does."""
    train = job.run.training
    if job.run.chooses:
        return 1
    if train.patience is None or not len(job.run.validation_rows):
        return train.epochs
    return min(train.epochs, train.patience + 1)


def memory_bytes(sources: Sequence[Source]) -> int:
    """Tokens of the largest source, a block of runs on every core, and the libraries."""
    return max(source.bytes() for source in sources) + torch.get_num_threads() * BLOCK_BYTES + OVERHEAD_BYTES
