"""What a study knows of its kind of target: how outcomes are dealt, measured, compared and told.

A kind of target is one file of `aggregate/targets/`. Cohort, statistics and reports ask it through this and
know no kind by name; what training asks besides is `aggregate/targets/base.py`.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from aggregate.cohort.table.cohort_table import CohortTable
from aggregate.cohort.table.join import LeftOut
from aggregate.common.arrays import Floats, Ints
from cache_schema.common.strict import Strict

Outcomes = NDArray[Any]
"""Class indices (row,), numbers (row,), or several numbers each (row, number)."""


@dataclass(frozen=True, slots=True)
class Metric:
    """How good predictions are, in one number."""

    name: str
    words: str
    """What people call it."""
    low: float = 0.0
    high: float = 1.0
    """Where it lives."""
    lower_is_better: bool = False
    guessing: float | None = None
    """What scores that know nothing have; None where that hangs on the cohort."""

    def gain(self, difference: float) -> float:
        """A difference of it, turned so that better is above 0."""
        return -difference if self.lower_is_better else difference

    @property
    def bounds(self) -> tuple[float, float]:
        """Least and largest value."""
        return self.low, self.high

    @property
    def difference_bounds(self) -> tuple[float, float]:
        """Least and largest difference of two."""
        return self.low - self.high, self.high - self.low


class Task(ABC):
    """A kind of target, for one column of one cohort."""

    key: ClassVar[str]
    """How a pipeline file calls it, under `target.task`."""
    name: str
    """In `metrics.json`, under `task`."""
    classes: tuple[str, ...] = ()
    """Labels, where outcomes are class indices."""
    metrics: ClassVar[tuple[Metric, ...]]
    """In the order of every table."""
    bar: ClassVar[str]
    """Name of the baseline that every head has to beat: a linear model of its kind on mean pooled tokens."""
    calibrates: ClassVar[bool] = False
    """Whether threshold and temperature are learnt."""
    figure: ClassVar[str] = "predicted"
    """What the table and the figure of truth and prediction in an evaluation are called."""
    constant_row: ClassVar[bool] = False
    """Whether what says the same of everybody is a row of the table: where guessing has no fixed value."""

    @property
    def primary(self) -> Metric:
        """The metric that studies are judged by."""
        return self.metrics[0]

    @property
    def table_bounds(self) -> dict[str, tuple[float, float]]:
        """Where each metric lives."""
        return {metric.name: metric.bounds for metric in self.metrics}

    @abstractmethod
    def stratify(self, values: Floats, of_bag: Ints) -> tuple[Ints, tuple[str, ...]]:
        """What folds are dealt by: a stratum for every bag, one per participant, and the strata's names.

        Args:
            values: Of every bag (bag, number), as the table has it.
            of_bag: Participant of every bag (bag,), counting from 0.
        """

    @abstractmethod
    def check(
        self, values: Floats, participants: Sequence[str], column: str, left_out: Sequence[LeftOut]
    ) -> None:
        """Refuse a cohort that cannot be learnt from.

        Raises:
            SlicecacheError: Saying what is missing.
        """

    def check_fold(self, train: Floats, test: Floats, fold: str) -> None:  # noqa: B027 - most have nothing to say
        """Refuse a fold that cannot be learnt from or judged.

        Args:
            train: Values of the bags that are trained on (bag, number).
            test: Of those that are tested (bag, number).
            fold: What messages call it.

        Raises:
            SlicecacheError: Saying what is missing.
        """

    @abstractmethod
    def outcomes(self, values: Floats) -> Outcomes:
        """Values (row, number) as training and metrics take them."""

    @abstractmethod
    def measure(
        self, y: Outcomes, said: Floats, threshold: float = 0.5, temperature: float = 1.0
    ) -> dict[str, float]:
        """Every metric of predictions, over participants.

        Args:
            y: Outcomes.
            said: What is said of each (participant, column).
            threshold: On the probability of the positive one of two classes.
            temperature: Divides logits.
        """

    def measure_draws(
        self, y: Outcomes, said: Floats, threshold: float = 0.5, temperature: float = 1.0
    ) -> dict[str, Floats]:
        """Every metric of many samples of one size, as a bootstrap draws them: (draw,) by name.

        Args:
            y: Outcomes (draw, participant).
            said: (draw, participant, column).
            threshold: As in `measure`.
            temperature: As in `measure`.
        """
        found = [self.measure(*one, threshold, temperature) for one in zip(y, said, strict=True)]
        return {name: np.array([one[name] for one in found]) for name in found[0]}

    @abstractmethod
    def groups(self, y: Outcomes) -> Ints:
        """Participants that a bootstrap draws among each other (participant,)."""

    @abstractmethod
    def said(self, outputs: Floats) -> Floats:
        """Outputs of a head (bag, output) as predictions are kept and averaged (bag, column)."""

    @abstractmethod
    def columns(self, said: Floats, threshold: float, temperature: float) -> Mapping[str, Any]:
        """The columns of `predictions.csv` that say what is predicted."""

    @abstractmethod
    def shown(self, values: Floats) -> list[Any]:
        """Outcomes as `predictions.csv` has them."""

    def outcome_columns(self, values: Floats) -> Mapping[str, Any]:
        """The columns of `predictions.csv` that say what is true."""
        return {"y": self.shown(values)}

    def truth_columns(self, values: Floats) -> Mapping[str, Any]:
        """The same in the table behind a figure; values are outcomes, as numbers (row, number)."""
        return {"truth": values[:, 0]}

    def findings(self, y: Outcomes, said: Floats) -> dict[str, Any]:
        """What `metrics.json` says besides, of participants' predictions averaged over repeats and seeds."""
        return {}

    def spread(self, values: Floats) -> dict[str, float]:
        """Of outcomes that are no classes, what `metrics.json` says of their distribution."""
        own = values[:, 0]
        ends = {"min": own.min(), "max": own.max()}
        return {name: float(value) for name, value in {"mean": own.mean(), "sd": own.std(), **ends}.items()}

    @classmethod
    def spread_words(cls, found: Mapping[str, float]) -> str:
        """The same in words."""
        return f"{found['min']:g} to {found['max']:g}, mean {found['mean']:.4g}, sd {found['sd']:.3g}"

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """What `metrics.json` says of the target."""


@dataclass(frozen=True, slots=True)
class Target:
    """A column, read: what each row has of it."""

    column: str
    task: Task
    values: Floats
    """(row, number); NaN where there is none."""
    reasons: tuple[str, ...]
    """Why a row has none; empty where it has one."""
    notes: tuple[str, ...] = ()

    @property
    def classes(self) -> tuple[str, ...]:
        """Of classes, their names."""
        return self.task.classes

    @property
    def labels(self) -> tuple[int | None, ...]:
        """Of classes, the index of each row; None where there is none."""
        return tuple(None if np.isnan(value) else int(value) for value in self.values[:, 0])


class TargetBase(Strict):
    """What is predicted, as a pipeline file says it."""

    column: str
    """Of the cohort table; of times, how long somebody was observed, e.g. `diagnosis`."""

    @abstractmethod
    def read(self, table: CohortTable, missing: Sequence[str] = ()) -> Target:
        """Give every row of a table its outcome.

        Args:
            table: Has the column.
            missing: Codes that mean missing.

        Raises:
            ConfigError: If the column does not exist, or what is asked cannot be meant.
            SlicecacheError: If the column cannot be such a target.
        """
