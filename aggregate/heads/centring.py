"""TokenArray are centred on the training slices before a head sees them, without touching a stored token.

The tokens of one backbone share most of their direction: what tells brains apart is small beside what
they have in common, and a head that trains on raw tokens spends its steps on the common part. Each run
subtracts the mean token of its own training slices and divides by one number, their root mean square
distance from it: `(h - m) s`. Pooling weights sum to 1, so the pooled vector is centred instead of
every slice, and a projection `V h + b` takes `V s` and `b - V s m` where runs differ in their centring.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from aggregate.bags.lazy import TokenArray

MEAN, SCALE = "input.mean", "input.scale"
"""Parameter names; they are fitted once, never trained."""


def centred(parameters: Mapping[str, Tensor], pooled: Float[Tensor, "#run bag pooled"]) -> Tensor:
    """`(z - m) s` of pooled vectors, one or several side by side; as they are if the head is not centred."""
    if MEAN not in parameters:
        return pooled
    mean = parameters[MEAN].unsqueeze(1)
    repeats = pooled.shape[2] // mean.shape[2]
    return (pooled - mean.repeat(1, 1, repeats)) * parameters[SCALE].view(-1, 1, 1)


def folded(
    parameters: Mapping[str, Tensor], weight: Float[Tensor, "run out dim"], bias: Float[Tensor, "run out"]
) -> tuple[Float[Tensor, "run out dim"], Float[Tensor, "run out"]]:
    """A projection of raw tokens that equals the given one of centred tokens."""
    if MEAN not in parameters:
        return weight, bias
    scaled = weight * parameters[SCALE].view(-1, 1, 1)
    return scaled, bias - torch.bmm(scaled, parameters[MEAN].unsqueeze(2)).squeeze(2)


def scored(
    parameters: Mapping[str, Tensor],
    weight: Float[Tensor, "run out dim"],
    bias: Float[Tensor, "run out"],
    x: Float[Tensor, "bag slice dim"],
) -> tuple[Float[Tensor, "run out dim"], Float[Tensor, "run out"], Float[Tensor, "bag slice dim"]]:
    """A projection and tokens that together are the given projection of centred tokens.

    Runs of one fold have one centring, and then the few tokens of a batch are centred instead of every
    run's weights and their gradients.
    """
    if MEAN not in parameters:
        return weight, bias, x
    mean, scale = parameters[MEAN], parameters[SCALE]
    if bool((mean == mean[:1]).all()) and bool((scale == scale[:1]).all()):
        return weight, bias, (x - mean[0]) * scale[0]
    return *folded(parameters, weight, bias), x


def scaled(parameters: Mapping[str, Tensor], weight: Float[Tensor, "run ..."]) -> Float[Tensor, "run ..."]:
    """Weights of raw tokens whose softmax over slices is that of the given ones of centred tokens.

    The mean shifts all scores of a bag alike, which a softmax does not see.
    """
    if MEAN not in parameters:
        return weight
    return weight * parameters[SCALE].view(-1, *(1,) * (weight.ndim - 1))


@dataclass(frozen=True, slots=True)
class BagSums:
    """What is needed of every bag, in float64, from one pass over tokens that may lie in the store."""

    total: Float[Tensor, "bag dim"]
    """Sum of its slices; padded ones are 0."""
    squares: Float[Tensor, " bag"]
    """Sum of the squares of all its numbers."""
    count: Float[Tensor, " bag"]
    """Kept slices."""

    @property
    def mean(self) -> Float[Tensor, "bag dim"]:
        """Mean over kept slices."""
        return self.total / self.count.clamp_min(1).unsqueeze(1)


@torch.no_grad()
def sum_bags(x: TokenArray, keep: Bool[Tensor, "bag slice"]) -> BagSums:
    """Go over the tokens of a cohort once."""
    total = torch.empty((len(x), x.shape[2]), dtype=torch.float64)
    squares = torch.empty(len(x), dtype=torch.float64)
    for place, bag in enumerate(x):
        total[place], squares[place] = bag.sum(0, dtype=torch.float64), bag.double().square().sum()
    return BagSums(total, squares, keep.sum(1).double())


@torch.no_grad()
def fit_centring(sums: BagSums, rows: Sequence[NDArray[np.int64]], dtype: torch.dtype) -> dict[str, Tensor]:
    """Mean and scale of each run's training slices, in float64.

    Args:
        sums: Of the cohort's bags.
        rows: Training bags of each run.
        dtype: Of the result.

    Returns:
        `input.mean` (run, dim) and `input.scale` (run,); the scale is 1 if the slices are all equal.
    """
    means, scales = [], []
    for run in rows:
        index = torch.as_tensor(run)
        n = sums.count[index].sum()
        mean = sums.total[index].sum(0) / n
        spread = sums.squares[index].sum() / n - mean.square().sum()
        # Tiny spreads are what rounding leaves of equal slices, and dividing by them would blow it up.
        flat = spread <= 1e-12 * mean.square().sum()
        means.append(mean)
        scales.append(torch.ones(()) if flat else (spread / len(mean)).rsqrt())
    return {MEAN: torch.stack(means).to(dtype), SCALE: torch.stack(scales).to(dtype)}
