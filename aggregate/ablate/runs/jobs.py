"""Runs with the fold that scores them, in the portions in which they are trained and journalled."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from aggregate.ablate.grid.expand import Configuration
from aggregate.ablate.runs.keys import Keys
from aggregate.cohort.people import Fold
from aggregate.harmonise.spec import HarmoniseSpec
from aggregate.train.crossval import run_specs
from aggregate.training.stacked import RunSpec

PORTION = 100
"""Runs that a portion has at least: enough to keep the cores busy, few enough to lose in a kill."""


@dataclass(frozen=True, slots=True)
class Job:
    """One training and what it is scored on."""

    run: RunSpec
    fold: Fold
    harmonise: HarmoniseSpec | None = None
    """What is done to the tokens that it is trained on."""


@dataclass(frozen=True, slots=True)
class Portion:
    """Jobs of one head that are trained by one call and journalled together."""

    key: str
    jobs: tuple[Job, ...]


def jobs_of(
    configuration: Configuration, folds: Sequence[Fold], seeds: int, calibrated: bool = True
) -> list[Job]:
    """Every fold with every seed; `calibrated` as in `run_specs`."""
    runs = run_specs(configuration.setup, folds, seeds, calibrated)
    by_fold = [fold for fold in folds for _ in range(seeds)]
    spec = configuration.section.harmonised
    return [Job(run, fold, spec) for run, fold in zip(runs, by_fold, strict=True)]


def portions_of(jobs: Iterable[Job], keys: Keys) -> list[Portion]:
    """Whole repeats and seeds of one head together, until there are enough.

    Runs of one repeat and seed see the same batches, fold by fold, whatever their configuration, and
    share the work on these if they train together.
    """
    heads: dict[str, dict[tuple[int, int], list[Job]]] = {}
    for job in jobs:
        streams = heads.setdefault(kind_of(job) + own_tokens(job), {})
        streams.setdefault((job.run.repeat, job.run.seed), []).append(job)
    found = []
    for streams in heads.values():
        waiting: list[Job] = []
        for index, own in enumerate(streams.values()):
            waiting += own
            if len(waiting) >= PORTION or index == len(streams) - 1:
                key = keys.portion([keys.run(job.run, job.fold, job.harmonise) for job in waiting])
                found.append(Portion(key, tuple(waiting)))
                waiting = []
    return found


def kind_of(job: Job) -> str:
    """Equal for runs that can train together, and cost the same per step."""
    training = job.run.training
    size = job.run.train.batch_size or "all" if training.starts_at_baseline else training.batch_size
    how = f"{training.starts_at_baseline} {size} {job.run.train.product} {job.run.train.device}"
    return f"{how} {job.run.head.model_dump_json()}"


def own_tokens(job: Job) -> str:
    """Equal for jobs with the same tokens; those that are harmonised differ by fold."""
    if job.harmonise is None:
        return ""
    return f" {job.harmonise.model_dump_json()} {job.fold.repeat} {job.fold.fold}"


def representatives(configurations: Sequence[Configuration]) -> dict[str, str]:
    """The first configuration that trains the same, by name: a point of a grid may equal a named one."""
    first: dict[tuple[str, ...], str] = {}
    found = {}
    for c in configurations:
        parts = (c.setup.head, c.setup.loss, c.setup.train)
        tokens = (c.store, c.setup.tokens, repr(c.section.harmonised))
        key = (*tokens, *(part.model_dump_json() for part in parts))
        found[c.name] = first.setdefault(key, c.name)
    return found
