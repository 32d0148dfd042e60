"""Runs with the fold that scores them, in the blocks in which they train."""

from collections.abc import Sequence
from dataclasses import dataclass

from aggregate.ablation.expand import Configuration
from aggregate.ablation.keys import Keys
from aggregate.cohort.folds import Fold
from aggregate.study.crossval import run_specs
from aggregate.training.stacked import RunSpec, blocks


@dataclass(frozen=True, slots=True)
class Job:
    """One training and what it is scored on."""

    run: RunSpec
    fold: Fold


@dataclass(frozen=True, slots=True)
class Unit:
    """Jobs that form one block of the training: journalled together."""

    key: str
    jobs: tuple[Job, ...]


def jobs_of(configuration: Configuration, folds: Sequence[Fold], seeds: int) -> list[Job]:
    """Every fold with every seed."""
    runs = run_specs(configuration.section, folds, seeds, configuration.name)
    by_fold = [fold for fold in folds for _ in range(seeds)]
    return [Job(run, fold) for run, fold in zip(runs, by_fold, strict=True)]


def units_of(jobs: Sequence[Job], keys: Keys, bag_bytes: int) -> list[Unit]:
    """Jobs by blocks, as `train_stacked` forms them for this list and bags of so many bytes."""
    found = []
    for members in blocks([job.run for job in jobs], bag_bytes):
        own = tuple(jobs[index] for index in members)
        found.append(Unit(keys.block([keys.run(job.run, job.fold) for job in own]), own))
    return found


def representatives(configurations: Sequence[Configuration]) -> dict[str, str]:
    """The first configuration that trains the same, by name: a point of a grid may equal a named one."""
    first: dict[tuple[str, ...], str] = {}
    found = {}
    for c in configurations:
        parts = (c.section.head, c.section.loss, c.section.train)
        key = (c.store, c.section.tokens, *(part.model_dump_json() for part in parts))
        found[c.name] = first.setdefault(key, c.name)
    return found
