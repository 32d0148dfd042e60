"""Half the squared error of a number that the head predicts."""

from collections.abc import Sequence
from typing import ClassVar, Self

from aggregate.losses.base import ActsOn, Counts, StackedLoss, TargetKind, TermSpec, mean_by_weight


class SquaredErrorSpec(TermSpec):
    """Half the squared error of the first output of a regression head: Huber's without its linear part."""

    acts_on: ClassVar[ActsOn] = "logits"
    for_target: ClassVar[TargetKind] = "regression"
    learns_by_heart: ClassVar[bool] = True

    @classmethod
    def stacked(cls, specs: Sequence[Self], counts: Counts) -> StackedLoss:
        """It has no options."""
        return lambda batch: mean_by_weight(
            (batch.logits[..., 0] - batch.y).square() / 2, batch.keep * batch.weight
        )
