"""A DINOv2-shaped network whose weights come from a seed and from nothing else.

Random features of this architecture still tell brains apart by size and shape, which is what a demo and
an offline test need, and they are the control that a trained backbone has to beat. For that the draw is
not the training's: products keep the variance of what they get (fan-in), LayerScale is 1, and the CLS
token and the position table are small beside the patches, or they would be most of what the CLS says.
Wider queries and keys were tried: attention then follows the noise of the draw, and the CLS of real
brains loses the participant's sex (AUROC 0.91 at 1, 0.71 at 2, 0.41 at 4 times the fan-in deviation).
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from cache_schema.format.header import BackboneIdentity
from extract.backbones.positions import position_rule
from extract.backbones.shape import Shape, architecture, check_layers, patch_grid
from extract.backbones.spec import UntrainedSpec
from extract.backbones.transformer import Transformer
from extract.backbones.weights import draw_uniform, weights_digest

SIZES: Mapping[str, tuple[int, int, int]] = {
    "tiny": (3, 128, 4),
    "small": (12, 384, 6),
    "base": (12, 768, 12),
    "large": (24, 1024, 16),
}
"""Layers, dim, heads."""

POSITION_DEVIATION = 0.1
"""Of the CLS token, the registers and the position table."""


def untrained_shape(spec: UntrainedSpec) -> Shape:
    """The network's sizes."""
    layers, dim, heads = SIZES[spec.size]
    return Shape(layers, dim, heads, hidden=4 * dim, registers=4 if spec.registers else 0)


def draw_weights(shape: Shape, seed: int) -> dict[str, Tensor]:
    """Draw every parameter in name order from one PCG64 stream.

    Norm weights and LayerScale are 1 and biases 0; they take no numbers from the stream.
    """
    bits = np.random.PCG64(seed)
    return {name: draw_parameter(bits, name, size) for name, size in sorted(shape.parameters().items())}


def draw_parameter(bits: np.random.PCG64, name: str, size: tuple[int, ...]) -> Tensor:
    """One parameter, by what its name says it is."""
    if name.endswith("bias"):
        return torch.zeros(size)
    if "norm" in name or name.endswith("lambda1"):
        return torch.ones(size)
    if name.startswith("embeddings") and not name.endswith("projection.weight"):
        return draw_uniform(bits, size, POSITION_DEVIATION)
    return draw_uniform(bits, size, float(np.prod(size[1:])) ** -0.5)


def build_untrained(
    spec: UntrainedSpec,
    canvas: int,
    device: torch.device,
    dtype: torch.dtype,
    layers: Sequence[int] = (),
    attention: bool = False,
) -> Transformer:
    """Draw the weights, name them, place them.

    Raises:
        ConfigError: If the canvas or the layers do not fit the network.
    """
    shape = untrained_shape(spec)
    grid = patch_grid(shape, canvas)
    kept = check_layers(layers, shape.layers)
    weights = draw_weights(shape, spec.seed)
    identity = BackboneIdentity(
        architecture=architecture(shape, "untrained", canvas) | {"size": spec.size, "seed": spec.seed},
        weights_sha256=weights_digest(weights),
        position_table=position_rule(shape.registers, shape.table_side, grid),
        layers=kept,
    )
    return Transformer(shape, weights, identity, canvas, device, dtype, attention)
