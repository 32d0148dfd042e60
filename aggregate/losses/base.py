"""What a loss is: a term of the weighted sum that a run minimises, computed for many runs at once."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor

from cache_schema.common.strict import Strict


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch of every run, as a loss sees it."""

    logits: Float[Tensor, "run bag class"]
    embedding: Float[Tensor, "run bag feature"]
    y: Int[Tensor, "run bag"]
    keep: Bool[Tensor, "run bag"]
    """True on real bags; the others fill a batch that is not full."""
    weight: Float[Tensor, "run bag"]
    """Of the bags in the cross entropy."""

    def __len__(self) -> int:
        """Runs."""
        return len(self.logits)

    def take(self, runs: Int[Tensor, " some"]) -> "Batch":
        """Some of the runs."""
        parts = (self.logits, self.embedding, self.y, self.keep, self.weight)
        return Batch(*(part.index_select(0, runs) for part in parts))


StackedLoss = Callable[[Batch], Float[Tensor, " run"]]
"""Values of the first runs of a stack, as many as the batch has."""


class TermSpec(Strict):
    """One term of the sum; its weight stands beside its options."""

    acts_on: ClassVar[Literal["logits", "embedding", "both"]] = "embedding"
    balances: ClassVar[bool] = False
    """Whether it wants equal shares of the classes in each batch."""
    weight: float = Field(default=0.0, ge=0)

    @classmethod
    def examples(cls) -> tuple[Self, ...]:
        """Some of this kind: the laws are tried on them."""
        return (cls(weight=1.0),)

    @property
    def group(self) -> str:
        """Equal for terms that one call computes; by default options may differ between runs."""
        return ""

    @classmethod
    @abstractmethod
    def stacked(cls, specs: Sequence[Self]) -> StackedLoss:
        """The unweighted term of runs with these specs."""


def bare_weight(value: Any) -> Any:
    """Read a bare number as `{weight: number}`."""
    return {"weight": value} if isinstance(value, int | float | str) else value


def column(values: Sequence[float]) -> Float[Tensor, " run"]:
    """One number per run, in double precision until it is used."""
    return torch.tensor(values, dtype=torch.float64)
