"""The products of many runs' weights with the same slices: where a head spends its time.

All runs see the same bags, so each product is one large matrix product instead of one per run.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def project(
    weight: Float[Tensor, "run out dim"], x: Float[Tensor, "bag slice dim"]
) -> Float[Tensor, "run out instance"]:
    """`W h` of every slice of every bag; an instance is a slice, bag by bag."""
    tokens = x.flatten(0, 1)
    return torch.mm(weight.flatten(0, 1), tokens.T).view(*weight.shape[:2], len(tokens))


def project_gradient(
    gradient: Float[Tensor, "run out instance"], x: Float[Tensor, "bag slice dim"]
) -> Float[Tensor, "run out dim"]:
    """Gradient of the weights of `project` from that of its result."""
    flat = torch.mm(gradient.flatten(0, 1), x.flatten(0, 1))
    return flat.view(*gradient.shape[:2], x.shape[2])


def weigh(
    attention: Float[Tensor, "run bag slice"], x: Float[Tensor, "bag slice dim"]
) -> Float[Tensor, "run bag dim"]:
    """`sum_i a_i h_i` of every bag."""
    return torch.bmm(attention.transpose(0, 1), x).transpose(0, 1)


def weigh_gradient(
    gradient: Float[Tensor, "run bag dim"], x: Float[Tensor, "bag slice dim"]
) -> Float[Tensor, "run bag slice"]:
    """Gradient of the attention of `weigh` from that of its result."""
    return torch.bmm(gradient.transpose(0, 1), x.transpose(1, 2)).transpose(0, 1)


def softmax_gradient(
    attention: Float[Tensor, "run bag slice"], gradient: Float[Tensor, "run bag slice"]
) -> Float[Tensor, "run bag slice"]:
    """Gradient of the scores under a softmax from that of the attention; 0 at pads."""
    return attention * (gradient - (attention * gradient).sum(-1, keepdim=True))
