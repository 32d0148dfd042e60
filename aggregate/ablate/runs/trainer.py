"""Train what the journal does not hold yet, portion by portion: score the runs, then drop their weights.

A portion is journalled whole and trained again whole. Which runs train together decides the last digits
in float32; that portions follow from the study alone is why a study that was killed gives the same bytes
as one that was not.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from aggregate.ablate.grid.sources import Source
from aggregate.ablate.runs.jobs import Job, Portion, portions_of
from aggregate.ablate.runs.journal import Arrays, Journal
from aggregate.ablate.runs.keys import Keys
from aggregate.ablate.runs.tokens import Tokens
from aggregate.bags.bags import Bags
from aggregate.cohort.people import people_of
from aggregate.statistics.calibration import Calibration
from aggregate.statistics.evaluate import OutOfFold
from aggregate.targets.base import goal_of_cohort
from aggregate.train.scoring import score_run
from aggregate.training.stacked import TrainedRun, train_stacked
from cache_schema.common.terminal.progress import Progress

RunKey = tuple[str, int, int, int]
"""Configuration, repeat, fold, seed."""


def key_of(output: OutOfFold) -> RunKey:
    """Which run an output is of."""
    return output.configuration, output.fold.repeat, output.fold.fold, output.seed


@dataclass(slots=True)
class Ledger:
    """What was trained, in this process or before."""

    journal: Journal
    seconds: dict[str, float] = field(default_factory=dict)
    """By configuration, of this process: its share of its portions by epochs."""
    trained: int = 0
    """Runs of this process."""
    found: int = 0
    """Runs that the journal held."""


def train_jobs(
    jobs: Iterable[Job], source: Source, bags: Bags, ledger: Ledger, progress: Progress | None = None
) -> dict[RunKey, OutOfFold]:
    """Outputs of all jobs, from the journal or from training.

    Args:
        jobs: Runs over this source.
        source: Their tokens' place, with the labels that hold for them.
        bags: The source's tokens.
        ledger: Holds the journal and counts.
        progress: Called with (runs done, runs); a portion's runs count by the epochs that are done.
    """
    portions, tokens = portions_of(jobs, Keys(source)), Tokens(source, bags)
    total, done = sum(len(portion.jobs) for portion in portions), 0
    outputs: dict[RunKey, OutOfFold] = {}
    for portion in portions:
        found = read_portion(portion, ledger.journal)
        if found is None:
            told = None if progress is None else _share(progress, done, len(portion.jobs), total)
            found = _train(portion, source, tokens.of(portion.jobs[0]), ledger, told)
        else:
            ledger.found += len(found)
        outputs |= {key_of(output): output for output in found}
        done += len(portion.jobs)
        if progress is not None:
            progress(done, total)
    return outputs


def missing_portions(jobs: Iterable[Job], source: Source, journal: Journal) -> list[Portion]:
    """What the journal does not hold."""
    return [p for p in portions_of(jobs, Keys(source)) if read_portion(p, journal) is None]


def train_portion(
    jobs: Sequence[Job], source: Source, bags: Bags, progress: Progress | None = None
) -> list[TrainedRun]:
    """Train jobs together, in their order."""
    cohort, dtype = source.cohort, bags.x.dtype
    # Copies: pandas hands out arrays that torch may not own.
    y, weight = torch.tensor(cohort.outcomes), torch.tensor(cohort.weight, dtype=dtype)
    goal = goal_of_cohort(cohort, jobs[0].run.loss)
    runs = [job.run for job in jobs]
    people = people_of(cohort.participants.tolist(), cohort.y).of_bag
    return train_stacked(bags, y, weight, goal, runs, dtype, progress, group=people, strata=cohort.y)


def _train(
    portion: Portion, source: Source, bags: Bags, ledger: Ledger, progress: Progress | None
) -> list[OutOfFold]:
    """Train a portion, score it and journal it."""
    start = time.perf_counter()
    trained = train_portion(portion.jobs, source, bags, progress)
    goal = goal_of_cohort(source.cohort, trained[0].spec.loss)
    head = trained[0].spec.head.build(bags.x.shape[2], goal.n_outputs)
    outputs = [
        score_run(head, run, source.cohort, bags, job.fold).output
        for run, job in zip(trained, portion.jobs, strict=True)
    ]
    ledger.journal.write(portion.key, *_packed(outputs))
    ledger.trained += len(outputs)
    per_epoch = (time.perf_counter() - start) / max(1, sum(run.epochs for run in trained))
    for run in trained:
        name = run.spec.configuration
        ledger.seconds[name] = ledger.seconds.get(name, 0.0) + per_epoch * run.epochs
    return outputs


def _share(progress: Progress, before: int, n: int, all_: int) -> Progress:
    """Run-epochs of a portion as runs of the whole."""
    return lambda done, total: progress(before + done * n // max(1, total), all_)


def _packed(outputs: Sequence[OutOfFold]) -> tuple[Arrays, Any]:
    """A portion's outputs as the journal keeps them."""
    arrays = {f"logits.{index}": output.logits for index, output in enumerate(outputs)}
    return arrays, [[o.calibration.threshold, o.calibration.temperature] for o in outputs]


def read_portion(portion: Portion, journal: Journal) -> list[OutOfFold] | None:
    """A portion's outputs under the names that its configurations have now, or None."""
    found = journal.read(portion.key)
    if found is None:
        return None
    arrays, body = found
    return [
        OutOfFold(
            job.run.configuration, job.fold, job.run.seed, arrays[f"logits.{index}"], Calibration(*pair)
        )
        for index, (job, pair) in enumerate(zip(portion.jobs, body, strict=True))
    ]


def renamed(output: OutOfFold, name: str) -> OutOfFold:
    """The same output as another configuration's."""
    return replace(output, configuration=name)
