"""A study with products and device settled, one way for all configurations that do not say."""

from collections.abc import Sequence
from dataclasses import replace

from aggregate.ablate.grid.expand import Study
from aggregate.ablate.runs.jobs import Job, kind_of
from aggregate.ablate.runs.prepare import PreparedStudy
from aggregate.bags.bags import Bags
from aggregate.train import products
from aggregate.training.feeding.streams import order_of
from aggregate.training.probe import Work
from aggregate.training.runs import RunSpec
from aggregate.training.spec import TrainSpec


def settled(prepared: PreparedStudy, bags: Bags, keep: bool = True) -> PreparedStudy:
    """What the section says, or the folder, or what is fastest here.

    Args:
        prepared: The study.
        bags: Of its first source, whose shapes are measured.
        keep: Whether what is measured is written down.

    Raises:
        SlicecacheError: If what is written cannot be read, or this machine does not have it.
    """
    study = prepared.study

    def works() -> list[Work]:
        return _works(prepared.outer_jobs(prepared.first.place), bags)

    train = products.settled(prepared.folder, study.section.train, works, bags.x.dtype, keep)
    return replace(prepared, study=_told(study, train))


def _told(study: Study, train: TrainSpec) -> Study:
    """Section and configurations say it."""
    found = tuple(replace(c, setup=products.with_arithmetic(c.setup, train)) for c in study.configurations)
    return replace(study, section=study.section.model_copy(update={"train": train}), configurations=found)


def _works(jobs: Sequence[Job], bags: Bags) -> list[Work]:
    """The runs of every head that train together."""
    kinds: dict[str, list[Job]] = {}
    for job in jobs:
        kinds.setdefault(kind_of(job), []).append(job)
    slices, dim = bags.keep.shape[1], bags.x.shape[2]
    return [Work(own[0].run.head, _side_by_side(own), slices, dim) for own in kinds.values()]


def _side_by_side(jobs: Sequence[Job]) -> list[RunSpec]:
    """Runs that share their batches next to each other, as a block has them."""
    return sorted((job.run for job in jobs), key=order_of)
