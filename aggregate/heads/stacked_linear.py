"""A linear layer of many runs under autograd, with gradients laid out as the weights are.

Autograd's own are transposed, and would be copied once more before an optimiser may read them.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from aggregate.heads.base import Parameters


def stacked_linear(
    parameters: Parameters, name: str, x: Float[Tensor, "run bag inputs"]
) -> Float[Tensor, "run bag outputs"]:
    """`W x + b` by each run's own weights."""
    output: Tensor = StackedLinear.apply(parameters[f"{name}.weight"], parameters[f"{name}.bias"], x)
    return output


class StackedLinear(torch.autograd.Function):
    """`W x + b` with its backward written out."""

    @staticmethod
    def forward(
        ctx: Any,
        weight: Float[Tensor, "run outputs inputs"],
        bias: Float[Tensor, "run outputs"],
        x: Float[Tensor, "run bag inputs"],
    ) -> Float[Tensor, "run bag outputs"]:
        """Each run by its own weights."""
        ctx.save_for_backward(weight, x)
        return torch.baddbmm(bias.unsqueeze(1), x, weight.transpose(1, 2))

    @staticmethod
    def backward(ctx: Any, gradient: Float[Tensor, "run bag outputs"]) -> tuple[Tensor | None, ...]:
        """To the weights, and to the input where that is wanted."""
        weight, x = ctx.saved_tensors
        grad_x = torch.bmm(gradient, weight) if ctx.needs_input_grad[2] else None
        return torch.bmm(gradient.transpose(1, 2), x), gradient.sum(1), grad_x
