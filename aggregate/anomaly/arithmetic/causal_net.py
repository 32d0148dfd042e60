"""The network of `spatial_ar`: masked convolutions that predict each token from those before it.

As published five of them, widths dim-256-256-256-256-dim, ReLU between; the first is of type A, so that no
token sees itself, the others of type B. Weights lie outside, in a dict, as the heads' do.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from aggregate.anomaly.arithmetic.masked_conv import MaskKind, causal_mask, masked_conv


@dataclass(frozen=True, slots=True)
class CausalNet:
    """The network's shape; what it does takes weights by name."""

    dim: int
    """Of a token."""
    dilations: tuple[int, ...] = (1, 1, 1, 1, 1)
    """One per convolution."""
    width: int = 256
    """Channels between two convolutions."""
    kernel: int = 3

    def layer_shapes(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes of all parameters; masked taps count, as published (3,540,352 at dim 384)."""
        widths = [self.dim, *[self.width] * (len(self.dilations) - 1), self.dim]
        shapes: dict[str, tuple[int, ...]] = {}
        for layer, (before, behind) in enumerate(pairwise(widths)):
            shapes[f"{layer}.weight"] = (behind, before, self.kernel, self.kernel)
            shapes[f"{layer}.bias"] = (behind,)
        return shapes

    def first_weights(self, seed: int, member: int) -> dict[str, Tensor]:
        """Drawn as `torch.nn.Conv2d` draws them, uniform within 1 / sqrt(taps); masked taps are 0."""
        stream = np.random.Generator(np.random.PCG64([seed, member]))
        weights = {}
        for name, shape in self.layer_shapes().items():
            layer, part = name.split(".")
            channels = self.dim if layer == "0" else self.width
            bound = 1 / math.sqrt(self.kernel**2 * channels)
            drawn = torch.from_numpy(stream.uniform(-bound, bound, shape).astype(np.float32))
            mask = causal_mask("A" if layer == "0" else "B", self.kernel)
            weights[name] = drawn * mask if part == "weight" else drawn
        return weights

    def predict(
        self, tokens: Float[Tensor, "slice row col dim"], weights: Mapping[str, Tensor]
    ) -> Float[Tensor, "slice row col dim"]:
        """Every token as the network expects it from those above and to the left."""
        x = tokens.permute(0, 3, 1, 2)
        last = len(self.dilations) - 1
        for layer, dilation in enumerate(self.dilations):
            kind: MaskKind = "A" if layer == 0 else "B"
            x = masked_conv(x, weights[f"{layer}.weight"], weights[f"{layer}.bias"], kind, dilation)
            if layer < last:
                x = torch.relu(x)
        return x.permute(0, 2, 3, 1)

    def squared_error(
        self, tokens: Float[Tensor, "slice row col dim"], weights: Mapping[str, Tensor]
    ) -> Float[Tensor, "slice row col"]:
        """Mean over channels of the squared difference between token and prediction."""
        return (self.predict(tokens, weights) - tokens).square().mean(3)


LEAST_SPREAD = 1e-6
"""A channel that is constant over a slice has noise of so many standard deviations' size."""


def channel_spread(patches: Float[Tensor, "slice row col dim"]) -> Float[Tensor, "slice 1 1 dim"]:
    """Standard deviation over positions of each slice and channel, dividing by n - 1."""
    several = patches.shape[1] * patches.shape[2] > 1
    return patches.std((1, 2), correction=int(several), keepdim=True).clamp_min(LEAST_SPREAD)
