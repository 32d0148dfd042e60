"""The part behind the pool: linear layers with ReLU, then the classifier, for all runs at once."""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

Shapes = dict[str, tuple[int, ...]]
"""Parameter name -> shape of one run; `weight` is (out, in) as in torch.nn.Linear."""


def linear_shapes(name: str, inputs: int, outputs: int) -> Shapes:
    """Weight and bias of one linear layer."""
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def embedding_shapes(dim: int, widths: tuple[int, ...], n_classes: int) -> Shapes:
    """The layers `embedding.0`, `embedding.1`, ... and `classifier`."""
    shapes: Shapes = {}
    for index, width in enumerate(widths):
        shapes |= linear_shapes(f"embedding.{index}", dim, width)
        dim = width
    return shapes | linear_shapes("classifier", dim, n_classes)


def linear(
    parameters: Mapping[str, Tensor], name: str, x: Float[Tensor, "#run bag inputs"]
) -> Float[Tensor, "run bag outputs"]:
    """(run, bag, in) -> (run, bag, out), each run by its own weights."""
    weight, bias = parameters[f"{name}.weight"], parameters[f"{name}.bias"]
    output: Tensor = StackedLinear.apply(weight, bias, x.expand(len(weight), -1, -1))
    return output


class StackedLinear(torch.autograd.Function):
    """`W x + b` of every run, with weight gradients laid out as the weights are.

    Autograd's own are transposed, and would be copied once more before the optimiser may read them.
    """

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
        """To the weights, and to the input where that is trained."""
        weight, x = ctx.saved_tensors
        grad_x = torch.bmm(gradient, weight) if ctx.needs_input_grad[2] else None
        return torch.bmm(gradient.transpose(1, 2), x), gradient.sum(1), grad_x


def embed(
    parameters: Mapping[str, Tensor], pooled: Float[Tensor, "#run bag dim"], layers: int
) -> Float[Tensor, "run bag feature"]:
    """(run, bag, dim) -> (run, bag, feature): `ReLU(L_n(... ReLU(L_0 z)))`, or the pooled vector itself."""
    for index in range(layers):
        pooled = torch.relu(linear(parameters, f"embedding.{index}", pooled))
    return pooled.expand(len(parameters["classifier.weight"]), -1, -1)
