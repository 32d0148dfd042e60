"""Time to an event: conversion, relapse, death. Predicted as a risk, the log of a hazard ratio.

Outcomes are signed times (`common/signed_times.py`). A partial likelihood knows no level, so every model's
risk is set to 0 at the median of its training bags: above it is the group of high risk.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import BeforeValidator, model_validator

from aggregate.cohort.table.cohort_table import CohortTable
from aggregate.cohort.table.join import LeftOut
from aggregate.cohort.task import Metric, Outcomes, Target
from aggregate.common.arrays import Floats, Ints
from aggregate.common.labels import read_column
from aggregate.common.signed_times import events_of, signed_times, strata_of, times_of
from aggregate.common.table_values import listed
from aggregate.losses.base import TargetKind
from aggregate.losses.registry import LossSpec
from aggregate.statistics.survival import (
    c_index,
    kaplan_meier,
    martingale_residuals,
    risk_groups,
    unos_c,
)
from aggregate.targets.base import LearntSpec, LearntTask
from aggregate.targets.event_times import EventSpec, read_events, read_times
from aggregate.targets.hazard import HazardGoal
from aggregate.targets.question import Question
from aggregate.training.solving.goal import Goal
from cache_schema.common.errors import SlicecacheError


class SurvivalSpec(LearntSpec):
    """Time to an event, or to the end of observation."""

    usual_loss: ClassVar[str] = "cox"
    losses: ClassVar[tuple[str, ...]] = ("cox",)
    has_classes: ClassVar[bool] = False

    task: Literal["survival"] = "survival"
    event: Annotated[EventSpec, BeforeValidator(read_column)]
    """Whether the event was seen, or observation ended without it, e.g. `{column: converted}`."""

    @model_validator(mode="before")
    @classmethod
    def _of_classes(cls, data: Any) -> Any:
        for key in ("positive", "classes"):
            if isinstance(data, Mapping) and key in data:
                raise ValueError(
                    f"{key} is for classes; task: survival takes column (the time) and event (the column "
                    "that says whether it was seen)"
                )
        return data

    @classmethod
    def kept(cls, classes: tuple[str, ...]) -> LearntTask:
        """It keeps nothing."""
        return Survival()

    @classmethod
    def loss_kind(cls, loss: LossSpec) -> TargetKind:
        """Losses of times."""
        return "survival"

    def read(self, table: CohortTable, missing: Sequence[str] = ()) -> Target:
        """Give every row its signed time; who was not observed at all is left out."""
        column, other = table.require(self.column, "target"), table.require(self.event.column, "target.event")
        times, why = read_times(column, table, missing)
        events, unsaid = read_events(self.event, other, table, missing)
        reasons = [one or two for one, two in zip(why, unsaid, strict=True)]
        signed = signed_times(times, events)
        signed[[bool(reason) for reason in reasons]] = np.nan
        return Target(column, Survival(), signed[:, None], tuple(reasons))


class Survival(LearntTask):
    """A time to an event, by Cox's partial likelihood."""

    key: ClassVar[str] = "survival"
    names: ClassVar[tuple[str, ...]] = ("survival",)
    shown_metrics: ClassVar[tuple[str, ...]] = ("c_index", "uno_c")
    name = "survival"
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("c_index", "C-index", guessing=0.5),
        Metric("uno_c", "Uno's C", guessing=0.5),
    )
    bar: ClassVar[str] = "mean_pool_cox"
    figure: ClassVar[str] = "risk_groups"

    def stratify(self, values: Floats, of_bag: Ints) -> tuple[Ints, tuple[str, ...]]:
        """By event and time."""
        first = np.unique(of_bag, return_index=True)[1]
        own = values[first, 0]
        strata = strata_of(own)
        names = [_stratum(own[strata == c]) for c in range(strata.max() + 1)]
        return strata[of_bag], tuple(names)

    def check(
        self, values: Floats, participants: Sequence[str], column: str, left_out: Sequence[LeftOut]
    ) -> None:
        """A participant has one time, and somebody the event."""
        seen: dict[str, float] = {}
        rows = zip(participants, values[:, 0], strict=True)
        torn = [name for name, value in rows if seen.setdefault(name, value) != value]
        if torn:
            raise SlicecacheError(
                "a participant has one time and event, but they change between the sessions of "
                f"{listed(list(dict.fromkeys(torn)))}; use sessions: first or last, or leave them out by "
                "where"
            )
        if not seen:
            why = Counter(item.reason for item in left_out).most_common(3)
            told = "; ".join(f"{n} {reason}" for reason, n in why) or "nothing was left out"
            raise SlicecacheError(
                f"target {column!r}: nobody has a time, an event that was seen or not, and a volume of the "
                f"store (left out: {told})"
            )
        if not events_of(values).any():
            raise SlicecacheError(
                f"target {column!r}: none of the {len(seen)} participants that have a time and a volume of "
                "the store has the event, so there is nothing to predict"
            )

    def check_fold(self, train: Floats, test: Floats, fold: str) -> None:
        """Somebody has the event on either side."""
        for values, what in ((train, "trains on"), (test, "tests")):
            if not events_of(values).any():
                raise SlicecacheError(
                    f"{fold} {what} nobody with the event, so there is no risk to learn or to judge; take "
                    "fewer folds or larger groups"
                )

    def outcomes(self, values: Floats) -> Outcomes:
        """Signed times (row,)."""
        return values[:, 0]

    def measure(
        self, y: Outcomes, said: Floats, threshold: float = 0.5, temperature: float = 1.0
    ) -> dict[str, float]:
        """Harrell's and Uno's C."""
        return {"c_index": c_index(y, said[:, 0]), "uno_c": unos_c(y, said[:, 0], y)}

    def groups(self, y: Outcomes) -> Ints:
        """Those with the event, and the others."""
        return events_of(y)

    def said(self, outputs: Floats) -> Floats:
        """The risk."""
        return outputs

    def columns(self, said: Floats, threshold: float, temperature: float) -> Mapping[str, Any]:
        """The risk and its group."""
        return {"risk": said[:, 0], "risk_group": np.where(said[:, 0] > 0, "high", "low")}

    def shown(self, values: Floats) -> list[Any]:
        """Times, with a plus where observation ended without the event."""
        return [f"{abs(value):g}{'+' if value < 0 else ''}" for value in values[:, 0]]

    def outcome_columns(self, values: Floats) -> Mapping[str, Any]:
        """Time and event."""
        return {"y_time": times_of(values[:, 0]), "y_event": events_of(values[:, 0])}

    def truth_columns(self, values: Floats) -> Mapping[str, Any]:
        """Time and event."""
        return self.outcome_columns(values)

    def findings(self, y: Outcomes, said: Floats) -> dict[str, Any]:
        """Groups of high and low risk."""
        return {"risk_groups": risk_groups(y, said[:, 0])}

    def spread(self, values: Floats) -> dict[str, float]:
        """Events, and how long was observed: the reversed Kaplan-Meier median."""
        own = values[:, 0]
        follow_up = kaplan_meier(-own).median() or times_of(own).max()
        longest = float(times_of(own).max())
        return {"events": float(events_of(own).sum()), "median_follow_up": follow_up, "longest": longest}

    @classmethod
    def spread_words(cls, found: Mapping[str, float]) -> str:
        """`23 with the event; followed up for 31 (median), at most 60`."""
        median, longest = found["median_follow_up"], found["longest"]
        return f"{found['events']:g} with the event; followed up for {median:g} (median), at most {longest:g}"

    def facts(self) -> dict[str, Any]:
        """Which metric counts."""
        return {"primary": self.primary.name}

    def questions(self, column: str, values: Floats, n_outputs: int) -> tuple[Question, ...]:
        """Of a higher risk, which is held against the events that nobody's risk would explain."""
        return (Question("higher risk", np.ones(n_outputs), martingale_residuals(values[:, 0]), "number"),)

    def goal(self, loss: LossSpec | None = None) -> Goal:
        """One output."""
        return HazardGoal()


def _stratum(own: Floats) -> str:
    times = times_of(own)
    return f"{'event' if own[0] > 0 else 'none'}, {times.min():g} to {times.max():g}"


SurvivalSpec.task_class = Survival
