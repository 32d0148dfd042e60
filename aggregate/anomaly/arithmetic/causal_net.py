"""The network of `spatial_ar`: five masked convolutions that predict each token from those before it.

Widths dim-256-256-256-256-dim, ReLU between; the first is of type A, so that no token sees itself, the
others of type B. Weights lie outside, in a dict, as the heads' do.
"""

import math
from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from aggregate.anomaly.arithmetic.masked_conv import MaskKind, causal_mask, masked_conv

WIDTH = 256
LAYERS = 5


def layer_shapes(dim: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of all parameters; masked taps are counted, as published (3,540,352 at dim 384)."""
    widths = [dim, *[WIDTH] * (LAYERS - 1), dim]
    shapes: dict[str, tuple[int, ...]] = {}
    for layer in range(LAYERS):
        shapes[f"{layer}.weight"] = (widths[layer + 1], widths[layer], 3, 3)
        shapes[f"{layer}.bias"] = (widths[layer + 1],)
    return shapes


def first_weights(dim: int, seed: int, member: int) -> dict[str, Tensor]:
    """Drawn as `torch.nn.Conv2d` draws them, uniform within 1 / sqrt(9 channels); masked taps are 0."""
    stream = np.random.Generator(np.random.PCG64([seed, member]))
    weights = {}
    for name, shape in layer_shapes(dim).items():
        layer, part = name.split(".")
        channels = dim if layer == "0" else WIDTH
        bound = 1 / math.sqrt(9 * channels)
        drawn = torch.from_numpy(stream.uniform(-bound, bound, shape).astype(np.float32))
        weights[name] = drawn * causal_mask("A" if layer == "0" else "B") if part == "weight" else drawn
    return weights


def predict_tokens(
    tokens: Float[Tensor, "slice row col dim"], weights: Mapping[str, Tensor], dilation: int
) -> Float[Tensor, "slice row col dim"]:
    """Every token as the network expects it from those above and to the left."""
    x = tokens.permute(0, 3, 1, 2)
    for layer in range(LAYERS):
        kind: MaskKind = "A" if layer == 0 else "B"
        x = masked_conv(x, weights[f"{layer}.weight"], weights[f"{layer}.bias"], kind, dilation)
        if layer < LAYERS - 1:
            x = torch.relu(x)
    return x.permute(0, 2, 3, 1)


def squared_error(
    tokens: Float[Tensor, "slice row col dim"], weights: Mapping[str, Tensor], dilation: int
) -> Float[Tensor, "slice row col"]:
    """Mean over channels of the squared difference between token and prediction."""
    return (predict_tokens(tokens, weights, dilation) - tokens).square().mean(3)
