"""What an ablation will do, before it does it: how many runs, about how long, how much memory."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from aggregate.ablation.jobs import Job, Unit
from aggregate.ablation.sources import Source
from aggregate.bags.bags import Bags
from aggregate.training.stacked import BLOCK_BYTES, train_stacked
from aggregate.training.streams import steps_of

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
    seconds: float
    """If no run stops early; measured on a few epochs and multiplied."""
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
            "seconds_at_most": round(self.seconds, 1),
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
            f"{'; '.join(parts)}. Estimate from a short probe: at most {duration(self.seconds)}, less where "
            f"runs stop early; memory about {self.memory_bytes / 2**30:.1f} GiB"
        )


def duration(seconds: float) -> str:
    """`40 s`, `12 min` or `3.5 h`."""
    if seconds < 120:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def step_seconds(units: Sequence[Unit], source: Source, bags: Bags) -> dict[str, float]:
    """Seconds of one run's step for every head: an epoch of the first of its blocks, with its set-up."""
    first: dict[str, Unit] = {}
    for unit in units:
        first.setdefault(kind_of(unit.jobs[0]), unit)
    found = {}
    for index, (kind, unit) in enumerate(first.items()):
        if index == 0:
            _train_epoch(unit, source, bags)  # the first time anything runs it is slow
        start = time.perf_counter()
        _train_epoch(unit, source, bags)
        found[kind] = (time.perf_counter() - start) / sum(steps_of(job.run) for job in unit.jobs)
    return found


def expected_seconds(jobs: Sequence[Job], steps: dict[str, float]) -> float:
    """What these jobs take if none stops early; a head that was not timed costs as much as the dearest."""
    dearest = max(steps.values(), default=0.0)
    return sum(steps.get(kind_of(job), dearest) * steps_of(job.run) * job.run.train.epochs for job in jobs)


def kind_of(job: Job) -> str:
    """Jobs of equal cost per step: one head, one batch size."""
    return f"{job.run.train.batch_size} {job.run.head.model_dump_json()}"


def memory_bytes(sources: Sequence[Source]) -> int:
    """Tokens of the largest source, what a block of runs keeps, and the libraries."""
    return max(source.bytes() for source in sources) + 2 * BLOCK_BYTES + OVERHEAD_BYTES


def _train_epoch(unit: Unit, source: Source, bags: Bags) -> None:
    """Train a block for one epoch and forget it."""
    cohort, x = source.cohort, bags.x
    runs = [
        replace(job.run, train=job.run.train.model_copy(update={"epochs": 1, "patience": None}))
        for job in unit.jobs
    ]
    weight = torch.tensor(cohort.weight, dtype=x.dtype)
    train_stacked(bags, torch.tensor(cohort.y), weight, len(cohort.classes), runs, x.dtype)
