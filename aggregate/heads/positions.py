"""Positions of slices: sinusoids of the height in millimetres, and rotations by the slice's index."""

import torch
from jaxtyping import Float
from torch import Tensor

SINUSOID_THETA = 10_000.0
"""Ratio of the longest to the shortest wavelength (Vaswani et al. 2017)."""
ROTARY_THETA = 256.0
"""As the Medical Slice Transformer has it."""


def sinusoids(height_mm: Float[Tensor, "bag slice"], dim: int) -> Float[Tensor, "bag slice dim"]:
    """`sin(h / 10000^(2i/d))` at 2i and the cosine at 2i + 1, for heights h in mm."""
    even = torch.arange(0, dim, 2, dtype=height_mm.dtype, device=height_mm.device)
    angles = height_mm.unsqueeze(-1) * SINUSOID_THETA ** (-even / dim)
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(-2)[..., :dim]


def turned_back(x: Float[Tensor, "run head width"], positions: int) -> Float[Tensor, "run head place width"]:
    """`R_p^T x` for p = 0, 1, ...: by RoFormer's rotation R_p, `(R_p^T q) . k = q . (R_p k)`.

    R_p turns the pair (2i, 2i + 1) by the angle p theta^(-2i / width).
    """
    width = x.shape[-1]
    even = torch.arange(0, width, 2, dtype=x.dtype, device=x.device)
    places = torch.arange(positions, dtype=x.dtype, device=x.device).unsqueeze(1)
    angles = places * ROTARY_THETA ** (-even / width)
    cos, sin = angles.cos(), angles.sin()
    first, second = x[..., None, 0::2], x[..., None, 1::2]
    return torch.stack([first * cos + second * sin, second * cos - first * sin], -1).flatten(-2)
