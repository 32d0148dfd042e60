"""What a loss is: a term of the weighted sum that a run minimises, computed for many runs at once."""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, Self, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor

from aggregate.losses.schedule import Schedule
from cache_schema.common.short_forms import reads
from cache_schema.common.strict import Strict, later

ActsOn = Literal["logits", "embedding", "both", "attention"]
TargetKind = Literal["classes", "ordinal", "regression", "survival"]


@dataclass(frozen=True, slots=True)
class Attention:
    """What every run's head makes of the slices of its bags."""

    weights: Float[Tensor, "run bag slice"]
    """Summing to 1 over kept slices."""
    keep: Bool[Tensor, "run bag slice"]
    """True on real slices."""
    height_mm: Float[Tensor, "run bag slice"]
    """Below the vertex."""

    def take(self, runs: Int[Tensor, " some"]) -> "Attention":
        """Some of the runs."""
        return Attention(*(part.index_select(0, runs) for part in (self.weights, self.keep, self.height_mm)))


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch of every run, as a loss sees it."""

    logits: Float[Tensor, "run bag class"]
    embedding: Float[Tensor, "run bag feature"]
    y: Int[Tensor, "run bag"]
    keep: Bool[Tensor, "run bag"]
    """True on real bags; the others fill a batch that is not full."""
    weight: Float[Tensor, "run bag"]
    """Of the bags in the terms that act on logits."""
    attention: Attention | None = None
    """Where a term acts on it."""

    def __len__(self) -> int:
        """Runs."""
        return len(self.logits)

    def take(self, runs: Int[Tensor, " some"]) -> "Batch":
        """Some of the runs."""
        given = (self.logits, self.embedding, self.y, self.keep, self.weight)
        logits, embedding, y, keep, weight = (part.index_select(0, runs) for part in given)
        return Batch(logits, embedding, y, keep, weight, self.attention and self.attention.take(runs))


StackedLoss = Callable[[Batch], Float[Tensor, " run"]]
"""Values of the first runs of a stack, as many as the batch has."""
Counts = Float[Tensor, "run class"]
"""Training bags of every run by label, by weight: a participant counts 1."""


@runtime_checkable
class Remembering(Protocol):
    """A stacked loss that keeps something from step to step."""

    def recall(self, before: Any, runs: Int[Tensor, " run"]) -> None:
        """Take over what the loss of a larger stack kept of the runs at these places in it."""
        ...


class TermSpec(Strict):
    """One term of the sum; its weight stands beside its options."""

    acts_on: ClassVar[ActsOn] = "embedding"
    balances: ClassVar[bool] = False
    """Whether it wants equal shares of the classes in each batch."""
    for_target: ClassVar[TargetKind | None] = "classes"
    """What kind of target it is for; None for any."""
    needs_whole: ClassVar[bool] = False
    """Whether it means something on a whole training part alone, and not on a batch of it."""
    learns_by_heart: ClassVar[bool] = False
    """Whether it fits small cohorts exactly in a few steps, so that inner folds are to choose how many."""
    weight: float = Field(default=0.0, ge=0)
    """What the term is multiplied by in the sum; 0 leaves it out."""
    schedule: Schedule | None = later(None)
    """Of the weight over the epochs; see `losses/schedule.py`."""

    @classmethod
    def examples(cls) -> tuple[Self, ...]:
        """Some of this kind: the laws are tried on them."""
        return (cls(weight=1.0),)

    @property
    def group(self) -> str:
        """Equal for terms that one call computes; by default options may differ between runs."""
        return ""

    @classmethod
    def new_run(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """What a pipeline file means where it does not say: a term that is named weighs 1."""
        return {"weight": 1.0}

    @property
    def as_number(self) -> float:
        """What stands for it where nothing but the weight is said."""
        return self.weight

    def weight_at(self, epoch: int) -> float:
        """The weight in an epoch, counted from 0."""
        return self.weight * (self.schedule.factor(epoch) if self.schedule else 1.0)

    def check_classes(self, n_classes: int) -> None:
        """Refuse options that do not fit so many labels.

        Raises:
            ConfigError: Saying which.
        """

    @classmethod
    @abstractmethod
    def stacked(cls, specs: Sequence[Self], counts: Counts) -> StackedLoss:
        """The unweighted term of runs with these specs and these training bags."""


@reads({"type": "number", "minimum": 0})
def read_term(value: Any) -> Any:
    """Read a bare number as `{weight: number}`; a term that is named with its options alone weighs 1."""
    if isinstance(value, int | float | str):
        return {"weight": value}
    return {"weight": 1.0, **value} if isinstance(value, Mapping) else value


def attention_of(batch: Batch) -> Attention:
    """The attention that a term acts on."""
    if batch.attention is None:
        raise ValueError("this batch was made for terms that do not act on attention")
    return batch.attention


def column(values: Sequence[float], beside: Tensor) -> Float[Tensor, " run"]:
    """One number per run, in double precision until it is used, on the device of what it stands beside."""
    return torch.tensor(values, dtype=torch.float64, device=beside.device)


def mean_by_weight(
    values: Float[Tensor, "run bag"], weight: Float[Tensor, "run bag"]
) -> Float[Tensor, " run"]:
    """`sum_i w_i v_i / sum_i w_i`; 0 for a run without weight."""
    return (values * weight).sum(1) / weight.sum(1).clamp_min(torch.finfo(values.dtype).tiny)
