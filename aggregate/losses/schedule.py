"""A term's weight over the epochs: `supcon: {weight: 1.0, schedule: {kind: warmup, epochs: 10}}`.

A schedule gives a factor for every epoch, counted from 0; the weight is multiplied by it. With
`t = min(1, epoch / epochs)`, from the first epoch to that one, and the last factor from then on:

| kind | factor |
|---|---|
| `constant` | 1 |
| `linear` | `begin + (end - begin) t` |
| `cosine` | `begin + (end - begin) (1 - cos(pi t)) / 2` |
| `warmup` | `t`: 0 in the first epoch, 1 from epoch `epochs` on |

Early stopping takes no notice of it: it watches the unweighted cross entropy of the validation bags.
"""

import math
from abc import abstractmethod
from typing import Annotated, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from cache_schema.common.strict import Strict


class ScheduleBase(Strict):
    """Gives a factor for every epoch."""

    kind: str = ""

    @abstractmethod
    def factor(self, epoch: int) -> float:
        """What the weight is multiplied by in this epoch, counted from 0."""


class ConstantSchedule(ScheduleBase):
    """The weight as it is."""

    kind: Literal["constant"] = "constant"

    def factor(self, epoch: int) -> float:
        """1 throughout."""
        return 1.0


class Ramp(ScheduleBase):
    """From one factor to another."""

    begin: float = Field(ge=0)
    """Factor of the first epoch, e.g. `0`."""
    end: float = Field(ge=0)
    """Factor from epoch `epochs` on, e.g. `1`."""
    epochs: PositiveInt
    """Until the end is reached, e.g. `20`."""

    @model_validator(mode="after")
    def _weighs(self) -> Self:
        if self.begin == self.end == 0:
            raise ValueError("begin and end are both 0, so the term would never count; set its weight to 0")
        return self

    def factor(self, epoch: int) -> float:
        """Between both, as far as the ramp has come."""
        done = self.shape(min(1.0, epoch / self.epochs))
        # A mean, so that the end is reached to the last digit.
        return (1 - done) * self.begin + done * self.end

    @abstractmethod
    def shape(self, t: float) -> float:
        """How far the ramp has come, 0 to 1, at this share of its epochs."""


class LinearSchedule(Ramp):
    """By equal steps."""

    kind: Literal["linear"] = "linear"

    def shape(self, t: float) -> float:
        """A straight line."""
        return t


class CosineSchedule(Ramp):
    """By half a cosine, slow at both ends."""

    kind: Literal["cosine"] = "cosine"

    def shape(self, t: float) -> float:
        """Half a cosine."""
        return (1 - math.cos(math.pi * t)) / 2


class WarmupSchedule(ScheduleBase):
    """From nothing to the whole weight, by equal steps."""

    kind: Literal["warmup"] = "warmup"
    epochs: PositiveInt
    """Until the weight is reached, e.g. `10`."""

    def factor(self, epoch: int) -> float:
        """A straight line, and then 1."""
        return min(1.0, epoch / self.epochs)


Schedule = Annotated[
    ConstantSchedule | LinearSchedule | CosineSchedule | WarmupSchedule, Field(discriminator="kind")
]
