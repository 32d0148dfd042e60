"""What normals are like at each slice height: sums by 5 mm of height, smoothed along it."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

BIN_MM = 5.0
LOWEST_MM = -50.0
"""Upper edge of the first bin; slices above the vertex have negative heights."""
HEIGHT_BINS = 80
"""Down to 350 mm below the vertex; what lies beyond counts as the last bin."""
SMOOTH_BINS = 1.0
"""Standard deviation of the smoothing."""


def height_bin(height_mm: Float[Tensor, " slice"]) -> Int[Tensor, " slice"]:
    """The bin of each height."""
    return ((height_mm - LOWEST_MM) / BIN_MM).floor().long().clamp(0, HEIGHT_BINS - 1)


def add_by_height(
    sums: Float[Tensor, "bin ..."], height_mm: Float[Tensor, " slice"], values: Float[Tensor, "slice ..."]
) -> None:
    """Add each slice's values to its height's bin, in the bins' dtype."""
    sums.index_add_(0, height_bin(height_mm), values.to(sums.dtype))


def smooth(sums: Float[Tensor, "bin ..."]) -> Float[Tensor, "bin ..."]:
    """Smooth sums and counts alike, by a Gaussian along height.

    Its tail is so thin that it matters only where no bin nearby holds anything; there the ratio of two
    smoothed sums is that of the nearest bins.
    """
    steps = torch.arange(len(sums), dtype=sums.dtype)
    apart = (steps[:, None] - steps).abs()
    weights = torch.exp(-0.5 * (apart / SMOOTH_BINS) ** 2) + 1e-12 * torch.exp(-apart)
    return torch.tensordot(weights, sums, dims=1)
