"""What the released class of arXiv 2509.19997 does beyond its paper, beside what ours does."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

LIVING = 1e-6
"""Components of less weight have no part in scores."""
UNDERFLOW = -150 * math.log(2)
"""`exp` of less, -103.972, is 0 in float32."""


@dataclass(frozen=True, slots=True)
class DpmmRules:
    """Where the formulas leave a choice."""

    eps: float
    """In denominators; a component of less mass loses its mean to 0: it dies."""
    last_stick_free: bool
    """Whether `v_K` is 1 at the start only."""
    least_log_weight: float
    """Components of no more take no part in a step."""
    start: Literal["cycled", "permuted"]
    """First means: the tokens at hand, over again where they are too few; or in a random permutation, the
    rest drawn from a standard normal, and the first variance divides by n - 1."""
    loss_of_living: bool
    """Whether the held-out loss and `score: likelihood` leave out components of weight up to 1e-6, weights
    not divided by their sum."""


OURS = DpmmRules(1e-10, False, -math.inf, "cycled", False)
AS_RELEASED = DpmmRules(float(torch.finfo(torch.float32).eps), True, UNDERFLOW, "permuted", True)


def taking_part(log_weight: Float[Tensor, " component"], least: float) -> Float[Tensor, " component"]:
    """The weights in which those that are too small are 0 (-inf), by what float32 makes of them."""
    return torch.where(log_weight.float() > least, log_weight, -math.inf)


def living(log_weight: Float[Tensor, " component"]) -> Bool[Tensor, " component"]:
    """Which have more than `LIVING` of the weight that all have together."""
    return log_weight - log_weight.logsumexp(0) > math.log(LIVING)
