"""LayerNorm in two parts: the one without parameters, which all runs share, and each run's affine one."""

import torch
from jaxtyping import Float
from torch import Tensor

from aggregate.heads.base import Parameters
from aggregate.heads.embedding import Shapes

EPSILON = 1e-5
"""Added to the variance, as `torch.nn.LayerNorm` does."""


def norm_shapes(name: str, dim: int) -> Shapes:
    """Weight and bias of one LayerNorm; a name that begins with `norm` starts as 1 and 0."""
    return {f"{name}.weight": (dim,), f"{name}.bias": (dim,)}


def standardised(x: Float[Tensor, "... dim"]) -> Float[Tensor, "... dim"]:
    """`(x - mean) / sqrt(var + 1e-5)` over the numbers of each token."""
    return torch.nn.functional.layer_norm(x, x.shape[-1:], eps=EPSILON)


def affine(
    parameters: Parameters, name: str, x: Float[Tensor, "run *any dim"]
) -> Float[Tensor, "run *any dim"]:
    """`g x + b` by each run's own weights."""
    shape = (-1, *(1,) * (x.ndim - 2), x.shape[-1])
    return torch.addcmul(parameters[f"{name}.bias"].view(shape), x, parameters[f"{name}.weight"].view(shape))


def layer_norm(
    parameters: Parameters, name: str, x: Float[Tensor, "run *any dim"]
) -> Float[Tensor, "run *any dim"]:
    """Both parts."""
    return affine(parameters, name, standardised(x))
