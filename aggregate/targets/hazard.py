"""What a head learns of times to an event: the log of a hazard ratio, by Cox's partial likelihood."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from aggregate.common.arrays import Floats, Ints
from aggregate.common.signed_times import events_of
from aggregate.losses.base import TargetKind
from aggregate.losses.cox import cox
from aggregate.training.solving.cox import solve_cox, solve_cox_chosen
from aggregate.training.solving.goal import Goal
from aggregate.training.solving.logistic import Solution
from cache_schema.common.errors import SlicecacheError

LIGHT = 1.0
"""Inverse penalty of a handful of columns."""


class HazardGoal(Goal):
    """One output; outcomes are signed times."""

    n_outputs = 1
    target: ClassVar[TargetKind] = "survival"
    watches: ClassVar[str] = "cox"
    usual: ClassVar[str] = "cox"
    whole: ClassVar[bool] = True

    def check(self, y: NDArray[Any], run: str) -> None:
        """Somebody has the event."""
        if not events_of(y).any():
            raise SlicecacheError(f"the run {run} has no bag with the event, so there is no risk to learn")

    def watched(
        self, outputs: Float[Tensor, "run bag output"], y: Tensor, keep: Bool[Tensor, "1 bag"]
    ) -> Float[Tensor, " run"]:
        """Cox's loss of all bags together."""
        risk = outputs[..., 0]
        return cox(risk, y.expand_as(risk), keep.expand_as(risk).to(risk.dtype))

    def level(self, outputs: Callable[[], Floats]) -> float:
        """The median of training bags, which is what risk 0 stands for."""
        return float(np.median(outputs()[:, 0]))

    def solve(self, x: Floats, y: NDArray[Any], weight: Floats, group: Ints, strata: Ints) -> Solution:
        """Cox regression with an L2 penalty."""
        return self._levelled(solve_cox_chosen(x, y, weight, group, strata), x)

    def fit(self, x: Floats, y: NDArray[Any], weight: Floats) -> Solution:
        """The same with a light penalty."""
        return self._levelled(solve_cox(x, y, weight, LIGHT), x)

    def _levelled(self, solution: Solution, x: Floats) -> Solution:
        return replace(solution, bias=solution.bias - self.level(lambda: solution.outputs(x)))
