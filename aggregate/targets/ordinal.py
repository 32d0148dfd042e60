"""Ordered classes: CN, MCI, AD, or grades. By CORN, with an output for each step between two of them.

Out-of-fold predictions are log probabilities of the classes, whatever the outputs of the head were. The
linear model on mean pooled tokens is a logistic regression for each step, of `y > k` among `y >= k`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from pydantic import BeforeValidator, model_validator
from torch import Tensor

from aggregate.cohort.table.cohort_table import CohortTable
from aggregate.cohort.task import Metric, Outcomes, Target, TargetBase
from aggregate.common.arrays import Floats, Ints
from aggregate.common.labels import Labels, read_text_keys
from aggregate.common.scaling import fit_scaling
from aggregate.common.softmax import softmax
from aggregate.common.table_values import listed, read_number
from aggregate.losses.base import TargetKind
from aggregate.losses.corn import corn
from aggregate.losses.registry import LossSpec
from aggregate.statistics.ranks import RANKS, expected_rank, rank_metrics
from aggregate.targets.base import LearntSpec, LearntTask, require_same_task
from aggregate.targets.class_names import Cells, named_values, refuse_shared, same_classes
from aggregate.targets.classification import Classification
from aggregate.targets.question import Question
from aggregate.training.solving.goal import Classes, Goal
from aggregate.training.solving.logistic import Solution, solve, solve_chosen
from cache_schema.common.errors import ConfigError

Step = Callable[[Ints, Ints], Solution]
"""Solves one step: rows that it is about, and whether each is above it."""
FEWEST = 3
"""Classes of which the order matters."""


class OrdinalSpec(LearntSpec):
    """Classes in an order."""

    usual_loss: ClassVar[str] = "corn"
    losses: ClassVar[tuple[str, ...]] = ("corn", "cross_entropy")
    classes: Annotated[dict[str, Labels] | None, BeforeValidator(read_text_keys)] = None
    """Class name -> the values of the column that it stands for, in order; of numbers it may be left out,
    e.g. `{CN: [CN], MCI: [EMCI, LMCI], AD: [AD]}`."""
    task: Literal["ordinal"] = "ordinal"

    @classmethod
    def loss_kind(cls, loss: LossSpec) -> TargetKind:
        """CORN has its own; without it a head has an output per class."""
        return "ordinal" if "corn" in loss.terms else "classes"

    @classmethod
    def kept(cls, classes: tuple[str, ...]) -> LearntTask:
        """Of these classes, in their order."""
        return Ordinal(classes)

    @model_validator(mode="after")
    def _disjoint(self) -> Self:
        refuse_shared(self.classes or {})
        if self.classes is not None and len(self.classes) < FEWEST:
            raise ValueError(f"an order takes at least {FEWEST} classes, not {listed(list(self.classes))}")
        return self

    def read(self, table: CohortTable, missing: Sequence[str] = ()) -> Target:
        """Give every row its class; grades that are numbers have their order, others need it written."""
        cells = Cells(self.column, table, missing)
        of_value = named_values(self.column, self.classes, cells.present, table)
        classes = tuple(dict.fromkeys(of_value.values()))
        if self.classes is None and any(read_number(value) is None for value in cells.present):
            raise ConfigError(
                f"target: task: ordinal needs the classes of {self.column!r} in their order, e.g. classes: "
                f"{{{', '.join(f'{name}: [{name}]' for name in classes[:3])}}}"
            )
        if len(classes) < FEWEST:
            raise ConfigError(f"target: an order takes at least {FEWEST} classes, not {listed(classes)}")
        return Target(cells.column, Ordinal(classes), *cells.placed(of_value, classes))


class Ordinal(Classification):
    """Classes in an order."""

    key: ClassVar[str] = "ordinal"
    names: ClassVar[tuple[str, ...]] = ("ordinal",)
    metrics: ClassVar[tuple[Metric, ...]] = RANKS
    shown_metrics: ClassVar[tuple[str, ...]] = ("ordinal_c_index", "kappa", "mae_ranks", "spearman")
    bar: ClassVar[str] = "mean_pool_ordinal"
    calibrates: ClassVar[bool] = False

    def __init__(self, classes: Sequence[str]) -> None:
        super().__init__(classes)
        self.name = "ordinal"

    def measure(
        self, y: Outcomes, said: Floats, threshold: float = 0.5, temperature: float = 1.0
    ) -> dict[str, float]:
        """As `statistics.ranks` has it."""
        return rank_metrics(y, softmax(said))

    def said(self, outputs: Floats) -> Floats:
        """Log probabilities of the classes, or logits where the head has one for each."""
        if outputs.shape[1] == len(self.classes):
            return outputs
        return step_log_probabilities(outputs)

    def columns(self, said: Floats, threshold: float, temperature: float) -> Mapping[str, Any]:
        """Log probabilities, probabilities, and the mean rank, counted from 0."""
        found = dict(super().columns(said, threshold, temperature))
        del found["threshold"]
        return {**found, "expected_rank": expected_rank(softmax(said))}

    def goal(self, loss: LossSpec | None = None) -> Goal:
        """An output per step for CORN, or one per class for other losses."""
        n = len(self.classes)
        return StepGoal(n) if loss is None or "corn" in loss.terms else Classes(n)

    def questions(self, column: str, values: Floats, n_outputs: int) -> tuple[Question, ...]:
        """Of a higher class: the mean over CORN's steps, or of logits the slope over the ranks."""
        rank = np.arange(n_outputs) - (n_outputs - 1) / 2
        steps = n_outputs < len(self.classes)
        weights = np.ones(n_outputs) / n_outputs if steps else rank / np.square(rank).sum()
        return (Question(f"higher {column}", weights, values[:, 0], "number"),)

    def elsewhere(self, spec: TargetBase, given: TargetBase | None, trained: TargetBase | None) -> TargetBase:
        """The training's classes in their order, whatever values stand for them there."""
        require_same_task(self, given)
        said = [one.classes for one in (given, trained) if isinstance(one, OrdinalSpec)]
        return OrdinalSpec(column=spec.column, classes=same_classes(self.classes, said))


def step_log_probabilities(outputs: Floats) -> Floats:
    """CORN's outputs (row, step) as log probabilities of the classes (row, step + 1), by their chain."""
    yes, no = -np.logaddexp(0, -outputs), -np.logaddexp(0, outputs)
    reached = np.concatenate([np.zeros((len(outputs), 1)), yes.cumsum(axis=1)], axis=1)
    return np.asarray(reached + np.concatenate([no, np.zeros((len(outputs), 1))], axis=1), dtype=np.float64)


class StepGoal(Goal):
    """An output for each step: how likely `y > k` is where `y >= k`."""

    target: ClassVar[TargetKind] = "ordinal"
    watches: ClassVar[str] = "corn"
    usual: ClassVar[str] = "corn"

    def __init__(self, n_classes: int) -> None:
        self.n_classes, self.n_outputs = n_classes, n_classes - 1

    def check(self, y: NDArray[Any], run: str) -> None:
        """Every label is one of the classes."""
        Classes(self.n_classes).check(y, run)

    def watched(
        self, outputs: Float[Tensor, "run bag output"], y: Tensor, keep: Bool[Tensor, "1 bag"]
    ) -> Float[Tensor, " run"]:
        """CORN."""
        return corn(outputs, y.expand(len(outputs), -1), keep.to(outputs.dtype).expand(len(outputs), -1))

    def solve(self, x: Floats, y: NDArray[Any], weight: Floats, group: Ints, strata: Ints) -> Solution:
        """A logistic regression per step, each with a strength of its own."""

        def step(rows: Ints, above: Ints) -> Solution:
            people, own = np.unique(group[rows], return_inverse=True)
            labels = np.zeros(len(people), dtype=np.int64)
            labels[own] = above
            return solve_chosen(x[rows], above, weight[rows], own.astype(np.int64), labels, 2)

        return self._steps(x, y, step)

    def fit(self, x: Floats, y: NDArray[Any], weight: Floats) -> Solution:
        """The same with C = 1."""
        return self._steps(x, y, lambda rows, above: solve(x[rows], above, weight[rows], 2, 1.0))

    def _steps(self, x: Floats, y: NDArray[Any], one: Step) -> Solution:
        """Solutions of all steps as one, on one standardisation."""
        scale = fit_scaling(x)
        weight, bias = np.zeros((self.n_outputs, x.shape[1])), np.zeros(self.n_outputs)
        for k in range(self.n_outputs):
            rows = np.flatnonzero(y >= k).astype(np.int64)
            found = one(rows, (y[rows] > k).astype(np.int64))
            per_unit = np.divide(
                found.weight[1] - found.weight[0], found.sd, out=np.zeros_like(found.sd), where=found.sd > 0
            )
            weight[k] = per_unit * scale.sd
            bias[k] = found.bias[1] - found.bias[0] + per_unit @ (scale.mean - found.mean)
        return Solution(scale.mean, scale.sd, weight, bias)


OrdinalSpec.task_class = Ordinal
