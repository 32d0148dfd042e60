"""LayerNorm in two parts: the one without parameters, which all runs share, and each run's affine one."""

from typing import Any

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


class BagsAndCls(torch.autograd.Function):
    """`g z + b` of every head's and bag's vector, and behind the bags the same of the CLS token."""

    @staticmethod
    def forward(
        ctx: Any,
        vectors: Float[Tensor, "run head bag dim"],
        cls: Float[Tensor, "run dim"],
        weight: Float[Tensor, "run dim"],
        bias: Float[Tensor, "run dim"],
    ) -> Float[Tensor, "run head token dim"]:
        """One token more than there are bags."""
        run, head, bag, dim = vectors.shape
        tokens = vectors.new_empty(run, head, bag + 1, dim)
        torch.addcmul(bias[:, None, None], vectors, weight[:, None, None], out=tokens[:, :, :-1])
        tokens[:, :, -1] = torch.addcmul(bias, cls, weight).unsqueeze(1)
        ctx.save_for_backward(vectors, cls, weight)
        return tokens

    @staticmethod
    def backward(
        ctx: Any, gradient: Float[Tensor, "run head token dim"]
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """To the vectors, the CLS token, g and b."""
        vectors, cls, weight = ctx.saved_tensors
        bags, own = gradient[:, :, :-1], gradient[:, :, -1].sum(1)
        grad_weight = torch.addcmul((bags * vectors).sum((1, 2)), own, cls)
        return bags * weight[:, None, None], own * weight, grad_weight, bags.sum((1, 2)) + own
