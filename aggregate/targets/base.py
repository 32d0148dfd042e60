"""What a kind of target is: one file that says all of it, and its name in the registry.

`aggregate/cohort/task.py` has what cohort and statistics ask of it; this adds what training asks.
"""

from abc import abstractmethod
from typing import ClassVar

import numpy as np

from aggregate.cohort.cohort import Cohort
from aggregate.cohort.task import TargetBase, Task
from aggregate.common.arrays import Floats
from aggregate.losses.base import TargetKind
from aggregate.losses.registry import LossSpec
from aggregate.targets.question import Question
from aggregate.training.solving.goal import Goal
from cache_schema.common.errors import ConfigError


class LearntSpec(TargetBase):
    """A target that heads are trained for, as a pipeline file says it."""

    usual_loss: ClassVar[str] = "cross_entropy"
    """The term that weighs 1 when no file names a loss of the target."""
    losses: ClassVar[tuple[str, ...]] = ("cross_entropy",)
    """Terms in whose presence the usual one is not meant unless it is named."""

    task_class: ClassVar[type["LearntTask"]]
    """What it makes."""
    has_classes: ClassVar[bool] = True
    """Whether outcomes are class indices."""

    @classmethod
    @abstractmethod
    def kept(cls, classes: tuple[str, ...]) -> "LearntTask":
        """The task, from what a bundle keeps of it."""

    @classmethod
    def loss_kind(cls, loss: LossSpec) -> TargetKind:
        """Which kind of terms go with a loss."""
        return "classes"


class LearntTask(Task):
    """A kind of target that heads are trained for."""

    names: ClassVar[tuple[str, ...]]
    """What `metrics.json` calls it under `task`."""
    shown_metrics: ClassVar[tuple[str, ...]]
    """Those that a terminal has room for."""

    @abstractmethod
    def goal(self, loss: LossSpec | None = None) -> Goal:
        """What a head is to learn under a loss; without one, what the baselines do."""

    def questions(self, column: str, values: Floats, n_outputs: int) -> tuple[Question, ...]:
        """What slices are evidence of: here of a higher number.

        Args:
            column: Of the target.
            values: Outcomes (bag, number).
            n_outputs: Of the head.
        """
        return (Question(f"higher {column}", np.ones(n_outputs) / n_outputs, values[:, 0], "number"),)

    def elsewhere(self, spec: TargetBase, given: TargetBase | None, trained: TargetBase | None) -> TargetBase:
        """The target as it is read in another cohort's table.

        Args:
            spec: What names the column.
            given: What the user says of the other table.
            trained: What the training said.

        Raises:
            ConfigError: If it is another target.
        """
        require_same_task(self, given)
        return spec


def require_same_task(task: Task, given: TargetBase | None) -> None:
    """Refuse another kind of target than the training's.

    Raises:
        ConfigError: Naming both.
    """
    said = task.key if given is None else getattr(given, "task", task.key)
    if said != task.key:
        raise ConfigError(f"external.target.task is {said!r}, but the training's is {task.key!r}")


def learnt(task: Task) -> LearntTask:
    """A kind of target, as one that heads are trained for."""
    if not isinstance(task, LearntTask):
        raise TypeError(f"{type(task).__name__} is no kind of target that heads are trained for")
    return task


def goal_of_cohort(cohort: Cohort, loss: LossSpec | None = None) -> Goal:
    """What a head is to learn of a cohort's target."""
    return learnt(cohort.kind).goal(loss)
