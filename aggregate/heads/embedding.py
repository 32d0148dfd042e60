"""The part behind the pool: linear layers with ReLU, then the classifier, for all runs at once.

Most of a head's weights are here, so training does not leave their gradients to autograd: `gradients`
writes them into tensors that stay from step to step.
"""

from collections.abc import Mapping
from dataclasses import dataclass

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
    return torch.baddbmm(bias.unsqueeze(1), x.expand(len(weight), -1, -1), weight.transpose(1, 2))


@dataclass(frozen=True, slots=True)
class ReadOut:
    """What the layers made of the pooled vectors."""

    inputs: tuple[Float[Tensor, "run bag width"], ...]
    """What each embedding layer and then the classifier reads; the last is the embedding."""
    logits: Float[Tensor, "run bag class"]

    @property
    def embedding(self) -> Float[Tensor, "run bag feature"]:
        """What contrastive losses act on."""
        return self.inputs[-1]


def read_out(
    parameters: Mapping[str, Tensor], pooled: Float[Tensor, "#run bag pooled"], layers: int
) -> ReadOut:
    """`ReLU(L_n(... ReLU(L_0 z)))`, or the pooled vector itself, and the classifier on top."""
    inputs = [pooled.expand(len(parameters["classifier.weight"]), -1, -1)]
    for index in range(layers):
        inputs.append(torch.relu(linear(parameters, f"embedding.{index}", inputs[-1])))
    return ReadOut(tuple(inputs), linear(parameters, "classifier", inputs[-1]))


def gradients(
    parameters: Mapping[str, Tensor],
    found: ReadOut,
    grad_logits: Float[Tensor, "run bag class"],
    grad_embedding: Float[Tensor, "run bag feature"] | None,
    out: Mapping[str, Tensor],
) -> Float[Tensor, "run bag pooled"]:
    """The chain rule through `read_out`.

    Args:
        parameters: As `read_out` had them.
        found: What it gave.
        grad_logits: Of the loss.
        grad_embedding: Of the loss, beside what comes through the logits.
        out: Where the gradients of weights go, for those that are wanted.

    Returns:
        The gradient of the pooled vectors.
    """
    names = [f"embedding.{index}" for index in range(len(found.inputs) - 1)]
    gradient = _through(parameters, "classifier", grad_logits, found.inputs[-1], out)
    if grad_embedding is not None:
        gradient = gradient.add_(grad_embedding)
    for name, before, after in zip(names[::-1], found.inputs[-2::-1], found.inputs[:0:-1], strict=True):
        gradient = _through(parameters, name, gradient.mul_(after > 0), before, out)
    return gradient


def _through(
    parameters: Mapping[str, Tensor],
    name: str,
    gradient: Float[Tensor, "run bag outputs"],
    x: Float[Tensor, "run bag inputs"],
    out: Mapping[str, Tensor],
) -> Float[Tensor, "run bag inputs"]:
    """One linear layer: its weights' gradients into `out`, its input's returned."""
    if f"{name}.weight" in out:
        torch.bmm(gradient.transpose(1, 2), x, out=out[f"{name}.weight"])
        torch.sum(gradient, 1, out=out[f"{name}.bias"])
    return torch.bmm(gradient, parameters[f"{name}.weight"])
