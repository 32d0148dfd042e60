"""What an ablation will do, before it does it: how many runs, about how long, how much memory."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from aggregate.ablate.grid.sources import Source
from aggregate.ablate.runs.jobs import Job, Portion, kind_of
from aggregate.ablate.runs.trainer import train_portion
from aggregate.bags.bags import Bags
from aggregate.training.blocks import BLOCK_BYTES
from aggregate.training.inner import INNER_FOLDS, inner_epochs
from aggregate.training.streams import steps_of

INNER_SHARE = (INNER_FOLDS - 1) / INNER_FOLDS
"""Of a run's bags that an inner one learns from."""
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
        parts = [
            f"{self.n_configurations} configurations x {self.n_folds} folds x {self.n_repeats} repeats x "
            f"{self.n_seeds} seed{'s' * (self.n_seeds != 1)} = "
            f"{self.n_configurations * self.n_folds * self.n_repeats * self.n_seeds} runs"
        ]
        if same:
            parts.append(f"{same} configuration{'s' * (same != 1)} equal another one and train once")
        if self.n_inner:
            parts.append(f"{self.n_inner} runs on inner folds")
        if self.n_shuffled:
            parts.append(f"{self.n_shuffled} runs on shuffled labels")
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


def step_seconds(portions: Sequence[Portion], source: Source, bags: Bags) -> dict[str, float]:
    """Seconds of one run's step for every head: an epoch of the first of its portions, with its set-up."""
    first: dict[str, Portion] = {}
    for portion in portions:
        first.setdefault(kind_of(portion.jobs[0]), portion)
    found = {}
    for index, (kind, portion) in enumerate(first.items()):
        jobs = [_of_one_epoch(job) for job in portion.jobs]
        if index == 0:
            train_portion(jobs, source, bags)  # the first time anything runs it is slow
        start = time.perf_counter()
        train_portion(jobs, source, bags)
        found[kind] = (time.perf_counter() - start) / sum(steps_of(job.run) for job in jobs)
    return found


def _of_one_epoch(job: Job) -> Job:
    """The same run cut short."""
    train = job.run.train.model_copy(update={"epochs": 1, "patience": None, "auto": False})
    return Job(replace(job.run, train=train, within=False), job.fold)


def expected_seconds(jobs: Sequence[Job], steps: dict[str, float]) -> tuple[float, float]:
    """What these jobs take if all stop as early as they may, and if none stops early."""
    soonest = latest = 0.0
    for job in jobs:
        epoch = steps[kind_of(job)] * steps_of(job.run)
        inside = inner_epochs(job.run) * INNER_SHARE
        soonest += epoch * (_fewest_epochs(job) + (0 if job.run.chooses else inside))
        latest += epoch * (job.run.training.epochs + inside)
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
