"""Train what the journal does not hold yet, score each run as it ends, and drop its weights.

Blocks are journalled whole and trained again whole: which runs train together decides the last digits
in float32, so that a study that was killed gives the same bytes as one that was not.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from aggregate.ablation.jobs import Job, Unit, units_of
from aggregate.ablation.journal import Arrays, Journal
from aggregate.ablation.keys import Keys
from aggregate.ablation.sources import Source
from aggregate.bags.bags import Bags
from aggregate.statistics.calibration import Calibration
from aggregate.statistics.evaluate import OutOfFold
from aggregate.study.scoring import score_run
from aggregate.training.stacked import TrainedRun, train_stacked

RunKey = tuple[str, int, int, int]
"""Configuration, repeat, fold, seed."""
Progress = Callable[[int, int], None]


def key_of(output: OutOfFold) -> RunKey:
    """Which run an output is of."""
    return output.configuration, output.fold.repeat, output.fold.fold, output.seed


@dataclass(slots=True)
class Ledger:
    """What was trained, in this process or before."""

    journal: Journal
    seconds: dict[str, float] = field(default_factory=dict)
    """By configuration, of this process: its share of its blocks by epochs."""
    trained: int = 0
    """Runs of this process."""
    found: int = 0
    """Runs that the journal held."""


def train_jobs(
    jobs: Sequence[Job], source: Source, bags: Bags, ledger: Ledger, progress: Progress | None = None
) -> dict[RunKey, OutOfFold]:
    """Outputs of all jobs, from the journal or from training.

    Args:
        jobs: Runs over this source.
        source: Their tokens' place, with the labels that hold for them.
        bags: The source's tokens.
        ledger: Holds the journal and counts.
        progress: Called with (runs done, runs), in fractions of runs rounded down.
    """
    outputs: dict[RunKey, OutOfFold] = {}
    missing: list[Unit] = []
    bag_bytes = bags.x.shape[1] * bags.x.shape[2] * bags.x.dtype.itemsize
    for unit in units_of(jobs, Keys(source), bag_bytes):
        kept = _read(unit, ledger.journal)
        if kept is None:
            missing.append(unit)
        else:
            ledger.found += len(kept)
            outputs |= {key_of(output): output for output in kept}
    if missing:
        _Training(missing, source, bags, ledger, outputs).train(jobs, progress)
    return outputs


def missing_units(jobs: Sequence[Job], source: Source, journal: Journal) -> list[Unit]:
    """Blocks that the journal does not hold."""
    return [unit for unit in units_of(jobs, Keys(source), source.bag_bytes()) if _read(unit, journal) is None]


class _Training:
    """One call of `train_stacked` and what happens as its runs end."""

    def __init__(
        self,
        units: Sequence[Unit],
        source: Source,
        bags: Bags,
        ledger: Ledger,
        outputs: dict[RunKey, OutOfFold],
    ) -> None:
        self.source, self.bags, self.ledger, self.outputs = source, bags, ledger, outputs
        self.unit_of = {id(job.run): unit for unit in units for job in unit.jobs}
        self.job_of = {id(job.run): job for unit in units for job in unit.jobs}
        self.done: dict[str, list[tuple[Job, OutOfFold, int]]] = {}
        self.clock = time.perf_counter()

    def train(self, jobs: Sequence[Job], progress: Progress | None) -> None:
        """Train the missing units' runs, in the order of all jobs, so that blocks form as planned."""
        runs = [job.run for job in jobs if id(job.run) in self.unit_of]
        cohort, x = self.source.cohort, self.bags.x
        there, n = len(jobs) - len(runs), len(runs)

        def share(done: int, total: int) -> None:
            if progress is not None:
                progress(there + done * n // max(1, total), len(jobs))

        self.clock = time.perf_counter()
        train_stacked(
            self.bags,
            torch.tensor(cohort.y),
            torch.tensor(cohort.weight, dtype=x.dtype),
            len(cohort.classes),
            runs,
            x.dtype,
            share,
            self.finished,
        )

    def finished(self, run: TrainedRun) -> None:
        """Score one run, drop its weights, and journal its block when that is whole."""
        job, unit = self.job_of[id(run.spec)], self.unit_of[id(run.spec)]
        cohort = self.source.cohort
        head = run.spec.head.build(self.bags.x.shape[2], len(cohort.classes))
        output = score_run(head, run, cohort, self.bags, job.fold).output
        # `train_stacked` returns every run; a grid's weights together would fill the memory.
        run.state.clear()
        done = self.done.setdefault(unit.key, [])
        done.append((job, output, run.epochs))
        if len(done) == len(unit.jobs):
            self.close(unit, self.done.pop(unit.key))

    def close(self, unit: Unit, done: Sequence[tuple[Job, OutOfFold, int]]) -> None:
        """Keep a whole block."""
        now = time.perf_counter()
        by_run = {id(job.run): output for job, output, _ in done}
        ordered = [by_run[id(job.run)] for job in unit.jobs]
        self.ledger.journal.write(unit.key, *_packed(ordered))
        self.outputs |= {key_of(output): output for output in ordered}
        self.ledger.trained += len(done)
        total = sum(epochs for _, _, epochs in done)
        for job, _, epochs in done:
            name, spent = job.run.configuration, (now - self.clock) * epochs / max(1, total)
            self.ledger.seconds[name] = self.ledger.seconds.get(name, 0.0) + spent
        self.clock = now


def _packed(outputs: Sequence[OutOfFold]) -> tuple[Arrays, Any]:
    """A block's outputs as the journal keeps them."""
    arrays = {f"logits.{index}": output.logits for index, output in enumerate(outputs)}
    return arrays, [[o.calibration.threshold, o.calibration.temperature] for o in outputs]


def _read(unit: Unit, journal: Journal) -> list[OutOfFold] | None:
    """A block's outputs under the names that its configurations have now, or None."""
    found = journal.read(unit.key)
    if found is None:
        return None
    arrays, body = found
    return [
        OutOfFold(
            job.run.configuration, job.fold, job.run.seed, arrays[f"logits.{index}"], Calibration(*pair)
        )
        for index, (job, pair) in enumerate(zip(unit.jobs, body, strict=True))
    ]


def renamed(output: OutOfFold, name: str) -> OutOfFold:
    """The same output as another configuration's."""
    return replace(output, configuration=name)
