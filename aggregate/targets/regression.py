"""A number: age, a score, a volume. Predicted in its own unit.

A run standardises the numbers of its own training bags and folds that back into its classifier, so what a
head gives is in the column's unit.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from aggregate.cohort.table.cohort_table import CohortTable
from aggregate.cohort.table.join import LeftOut
from aggregate.cohort.task import Metric, Outcomes, Target
from aggregate.common.arrays import Floats, Ints
from aggregate.common.table_values import is_missing, listed, read_number
from aggregate.losses.base import TargetKind
from aggregate.losses.registry import LossSpec
from aggregate.statistics.numbers import NUMBERS, number_metrics, numbers_of_draws
from aggregate.targets.base import LearntSpec, LearntTask
from aggregate.targets.ridge import solve_ridge, solve_ridge_chosen
from aggregate.training.solving.goal import Goal, weighted_unit
from aggregate.training.solving.logistic import Solution
from cache_schema.common.errors import SlicecacheError

PER_STRATUM = 20
"""Participants that a stratum has at least."""
MOST_STRATA = 5
FEWEST = 10
"""Participants that a regression takes at least."""


class RegressionSpec(LearntSpec):
    """A number per row."""

    usual_loss: ClassVar[str] = "squared_error"
    losses: ClassVar[tuple[str, ...]] = ("squared_error", "huber")
    task: Literal["regression"] = "regression"

    has_classes: ClassVar[bool] = False

    @classmethod
    def kept(cls, classes: tuple[str, ...]) -> LearntTask:
        """It keeps nothing."""
        return Regression()

    @classmethod
    def loss_kind(cls, loss: LossSpec) -> TargetKind:
        """Losses of numbers."""
        return "regression"

    def read(self, table: CohortTable, missing: Sequence[str] = ()) -> Target:
        """Give every row its number; text that is no code for missing is refused."""
        column = table.require(self.column, "target")
        cells = [str(cell) for cell in table.text[column]]
        gone = [is_missing(cell, missing) for cell in cells]
        numbers = [None if miss else read_number(cell) for cell, miss in zip(cells, gone, strict=True)]
        text = [c for c, n, m in zip(cells, numbers, gone, strict=True) if n is None and not m]
        if text:
            raise SlicecacheError(
                f"target: task: regression takes numbers, and column {column!r} of {table.path.name} holds "
                f"{listed([repr(cell) for cell in dict.fromkeys(text)], 3)}; say by missing: [...] which of "
                "these mean missing"
            )
        if not any(number is not None for number in numbers):
            raise SlicecacheError(f"target: column {column!r} of {table.path.name} holds no value at all")
        values = np.array([[np.nan if number is None else number] for number in numbers], dtype=np.float64)
        reasons = [_reason(cell, miss) for cell, miss in zip(cells, gone, strict=True)]
        return Target(column, Regression(), values, tuple(reasons))


def _reason(cell: str, gone: bool) -> str:
    return "" if not gone else f"target missing ({cell})" if cell else "target missing"


class Regression(LearntTask):
    """A number, by squared error and ridge regression."""

    key: ClassVar[str] = "regression"
    names: ClassVar[tuple[str, ...]] = ("regression",)
    shown_metrics: ClassVar[tuple[str, ...]] = ("mae", "r2", "pearson", "bias_slope")
    name = "regression"
    metrics: ClassVar[tuple[Metric, ...]] = NUMBERS
    bar: ClassVar[str] = "mean_pool_ridge"
    constant_row: ClassVar[bool] = True

    def stratify(self, values: Floats, of_bag: Ints) -> tuple[Ints, tuple[str, ...]]:
        """By quantiles of the participants' numbers: at most five, with 20 participants in each."""
        own = np.bincount(of_bag, values[:, 0]) / np.bincount(of_bag)
        n = int(np.clip(len(own) // PER_STRATUM, 1, MOST_STRATA))
        cuts = np.unique(np.quantile(own, np.arange(1, n) / n))
        strata = np.unique(np.searchsorted(cuts, own, side="right"), return_inverse=True)[1]
        names = [_range(own[strata == c]) for c in range(strata.max() + 1)]
        return strata[of_bag].astype(np.int64), tuple(names)

    def check(
        self, values: Floats, participants: Sequence[str], column: str, left_out: Sequence[LeftOut]
    ) -> None:
        """There must be enough participants, and they must differ."""
        n = len(set(participants))
        if n < FEWEST:
            raise SlicecacheError(
                f"target {column!r}: {n} participants have a number and a volume of the store; a regression "
                f"takes at least {FEWEST}"
            )
        if np.ptp(values) == 0:
            raise SlicecacheError(
                f"target: column {column!r} is constant ({values[0, 0]:g}) over the {n} participants that "
                "are left, so there is nothing to predict"
            )

    def outcomes(self, values: Floats) -> Outcomes:
        """The numbers (row,)."""
        return values[:, 0]

    def measure(
        self, y: Outcomes, said: Floats, threshold: float = 0.5, temperature: float = 1.0
    ) -> dict[str, float]:
        """MAE and the others, in the column's unit."""
        return number_metrics(y, said[:, 0])

    def measure_draws(
        self, y: Outcomes, said: Floats, threshold: float = 0.5, temperature: float = 1.0
    ) -> dict[str, Floats]:
        """All draws together."""
        return numbers_of_draws(y, said[..., 0])

    def groups(self, y: Outcomes) -> Ints:
        """Everybody among everybody."""
        return np.zeros(len(y), dtype=np.int64)

    def said(self, outputs: Floats) -> Floats:
        """The number, as the head gives it."""
        return outputs

    def columns(self, said: Floats, threshold: float, temperature: float) -> Mapping[str, Any]:
        """The number that is predicted."""
        return {"prediction": said[:, 0]}

    def shown(self, values: Floats) -> list[Any]:
        """The numbers."""
        return list(values[:, 0])

    def facts(self) -> dict[str, Any]:
        """Which metric counts."""
        return {"primary": self.primary.name}

    def goal(self, loss: LossSpec | None = None) -> Goal:
        """One output."""
        return NumberGoal()


def _range(own: Floats) -> str:
    return f"{own.min():g} to {own.max():g}"


class NumberGoal(Goal):
    """One output, standardised in training."""

    n_outputs = 1
    target: ClassVar[TargetKind] = "regression"
    watches: ClassVar[str] = "squared_error"
    usual: ClassVar[str] = "squared_error"

    def unit(self, y: NDArray[Any], weight: Floats) -> tuple[float, float]:
        """Of the run's training bags."""
        return weighted_unit(y, weight)

    def watched(
        self, outputs: Float[Tensor, "run bag output"], y: Tensor, keep: Bool[Tensor, "1 bag"]
    ) -> Float[Tensor, " run"]:
        """Half the squared error, in units of the run's own spread."""
        error = (outputs[..., 0] - y).square() / 2
        return (error * keep).sum(1) / keep.sum(1).clamp_min(1)

    def solve(self, x: Floats, y: NDArray[Any], weight: Floats, group: Ints, strata: Ints) -> Solution:
        """Ridge regression."""
        return solve_ridge_chosen(x, np.asarray(y, dtype=np.float64), weight, group, strata)

    def fit(self, x: Floats, y: NDArray[Any], weight: Floats) -> Solution:
        """Ridge regression with a light penalty."""
        return solve_ridge(x, np.asarray(y, dtype=np.float64), weight)


RegressionSpec.task_class = Regression
