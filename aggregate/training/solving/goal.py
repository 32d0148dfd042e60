"""What training needs to know of a target: outputs, the loss that is watched, the solution to start at.

`Classes` is the goal that a bare number of classes stands for; other kinds of targets bring their own
(`aggregate/targets/`).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from aggregate.common.arrays import Floats, Ints
from aggregate.losses.base import TargetKind, TermSpec
from aggregate.losses.cross_entropy import CrossEntropySpec, cross_entropy
from aggregate.losses.registry import LossSpec
from aggregate.training.solving.logistic import Solution, solve, solve_chosen
from cache_schema.common.errors import SlicecacheError


class Goal(ABC):
    """What a run is to learn. Outcomes `y` are (bag,), or (bag, number) where a bag has several."""

    n_outputs: int
    """Of the head."""
    n_classes: int = 0
    """Of which `y` is an index; 0 where it is none."""
    target: ClassVar[TargetKind]
    """Whose losses it takes."""
    watches: ClassVar[str]
    """What the loss that is watched is called."""

    @property
    def start_loss(self) -> LossSpec:
        """What the solution that heads start at minimises, its penalty aside."""
        return LossSpec.model_validate({"cross_entropy": 0, self.usual: 1})

    usual: ClassVar[str]
    """The term of that loss."""

    def is_usual(self, loss: LossSpec) -> bool:
        """Whether a loss is that one and nothing else."""
        terms = loss.terms
        if set(terms) != {self.usual}:
            return False
        own: TermSpec = terms[self.usual]
        return own == type(own)(weight=own.weight)

    def check(self, y: NDArray[Any], run: str) -> None:  # noqa: B027 (most refuse nothing)
        """Refuse outcomes of a run's bags that cannot be learnt from.

        Raises:
            SlicecacheError: Naming the run.
        """

    def level(self, outputs: Callable[[], Floats]) -> float | None:
        """What is taken off a run's outputs when it is done, where only their differences mean something.

        Args:
            outputs: Gives those of its training bags (bag, output).
        """
        return None

    def unit(self, y: NDArray[Any], weight: Floats) -> tuple[float, float]:
        """Mean and spread that a run's outcomes are standardised by in training; (0, 1) leaves them."""
        return 0.0, 1.0

    @abstractmethod
    def watched(
        self, outputs: Float[Tensor, "run bag output"], y: Tensor, keep: Bool[Tensor, "1 bag"]
    ) -> Float[Tensor, " run"]:
        """The loss, not weighted, that an early stop watches and that inner folds compare.

        Args:
            outputs: Of the head.
            y: Outcomes, standardised by each run's unit (run or 1, bag).
            keep: True on real bags.
        """

    @abstractmethod
    def solve(self, x: Floats, y: NDArray[Any], weight: Floats, group: Ints, strata: Ints) -> Solution:
        """The penalised linear solution, its strength chosen by inner folds.

        Args:
            x: Vectors (bag, column).
            y: Outcomes, as they are.
            weight: (bag,)
            group: Participant of every bag (bag,), counting from 0.
            strata: Stratum of every participant (participant,).
        """

    @abstractmethod
    def fit(self, x: Floats, y: NDArray[Any], weight: Floats) -> Solution:
        """The same with a light penalty, for a handful of columns; arguments as `solve`."""

    def says(self, solution: Solution, x: Floats) -> Floats:
        """What a solution says of rows, as a head's outputs (row, output)."""
        return solution.outputs(x)


class Classes(Goal):
    """A logit per class, by cross entropy and logistic regression."""

    target: ClassVar[TargetKind] = "classes"
    watches: ClassVar[str] = "cross_entropy"
    usual: ClassVar[str] = "cross_entropy"

    def __init__(self, n_classes: int) -> None:
        self.n_outputs = self.n_classes = n_classes

    @property
    def start_loss(self) -> LossSpec:
        """Cross entropy alone."""
        return LossSpec(cross_entropy=CrossEntropySpec())

    def check(self, y: NDArray[Any], run: str) -> None:
        """Every label is one of the classes."""
        if y.min() < 0 or y.max() >= self.n_classes:
            raise SlicecacheError(
                f"the run {run} holds a bag whose label is not one of 0..{self.n_classes - 1}"
            )

    def watched(
        self, outputs: Float[Tensor, "run bag output"], y: Tensor, keep: Bool[Tensor, "1 bag"]
    ) -> Float[Tensor, " run"]:
        """Cross entropy."""
        return cross_entropy(outputs, y, keep)

    def solve(self, x: Floats, y: NDArray[Any], weight: Floats, group: Ints, strata: Ints) -> Solution:
        """L2-logistic regression."""
        return solve_chosen(x, y, weight, group, strata, self.n_classes)

    def fit(self, x: Floats, y: NDArray[Any], weight: Floats) -> Solution:
        """L2-logistic regression with C = 1."""
        return solve(x, y, weight, self.n_classes, 1.0)

    def says(self, solution: Solution, x: Floats) -> Floats:
        """Log probabilities."""
        return solution.log_probabilities(x)


def goal_of(given: Goal | int) -> Goal:
    """A goal as it is, a number as that of so many classes."""
    return Classes(given) if isinstance(given, int) else given


class Unit:
    """What every run's outcomes are standardised by; its head learns those, and answers in their own unit."""

    def __init__(self, mean: Float[Tensor, " run"], sd: Float[Tensor, " run"]) -> None:
        self.mean, self.sd = mean, sd

    @classmethod
    def of(cls, pairs: list[tuple[float, float]], like: Tensor) -> "Unit | None":
        """Of runs, in the dtype of a tensor beside it; None where no run has any."""
        if all(pair == (0.0, 1.0) for pair in pairs):
            return None
        mean, sd = torch.tensor(pairs, dtype=torch.float64).T
        return cls(mean.to(like), sd.to(like))

    def standardised(self, y: Float[Tensor, "#run bag"], runs: slice) -> Float[Tensor, "run bag"]:
        """Outcomes of neighbouring runs' bags."""
        return (y - self.mean[runs, None]) / self.sd[runs, None]

    def into(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """A classifier (run, output, feature) of the target's unit as one of standardised outcomes."""
        return weight / self.sd[:, None, None], (bias - self.mean[:, None]) / self.sd[:, None]

    def back(self, weight: Tensor, bias: Tensor, runs: slice) -> tuple[Tensor, Tensor]:
        """A classifier of standardised outcomes as one of the target's unit."""
        mean, sd = self.mean[runs], self.sd[runs]
        return weight * sd[:, None, None], bias * sd[:, None] + mean[:, None]

    def select(self, index: Tensor) -> "Unit":
        """Keep the runs at `index`."""
        return Unit(self.mean[index], self.sd[index])


def weighted_unit(y: NDArray[Any], weight: Floats) -> tuple[float, float]:
    """Mean and spread of numbers by weight; a spread of 0 counts as 1."""
    mean = float(np.average(y, weights=weight))
    sd = float(np.sqrt(np.average((y - mean) ** 2, weights=weight)))
    return mean, sd if sd > 0 else 1.0
