"""Scores in standard deviations from normals of the same height, smoothed along it and bounded."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from aggregate.anomaly.arithmetic.heights import HEIGHT_BINS, add_by_height, height_bin, smooth

BOUND = 4.0
"""The standard deviation at a height is held within this factor of the one over all heights, and the
mean within this many of those: few normals at a height must not make or hide anomalies."""


@dataclass(frozen=True, slots=True)
class HeightScale:
    """Mean and standard deviation of normal foreground scores by height bin."""

    mean: Float[Tensor, " bin"]
    sd: Float[Tensor, " bin"]

    def apply(
        self, scores: Float[Tensor, "slice row col"], height_mm: Float[Tensor, " slice"]
    ) -> Float[Tensor, "slice row col"]:
        """Scores in standard deviations from the mean of normals at their height."""
        place = height_bin(height_mm)
        mean, sd = (table[place][:, None, None].to(scores) for table in (self.mean, self.sd))
        return (scores - mean) / sd


def fit_heights(scores: Float[Tensor, " token"], height_mm: Float[Tensor, " token"]) -> HeightScale:
    """Mean and standard deviation by height, smoothed and bounded.

    Args:
        scores: Foreground token scores of normals.
        height_mm: Of each token's slice.
    """
    values = scores.double()
    middle, spread = values.mean(), values.std(correction=0).clamp_min(1e-12)
    away = values - middle
    moments = torch.zeros((HEIGHT_BINS, 3), dtype=torch.float64)
    add_by_height(moments, height_mm, torch.stack([torch.ones_like(away), away, away * away], dim=1))
    count, total, squares = smooth(moments).unbind(1)
    mean = total / count
    sd = (squares / count - mean * mean).clamp_min(0).sqrt()
    return HeightScale(
        middle + mean.clamp(-BOUND * spread, BOUND * spread), sd.clamp(spread / BOUND, spread * BOUND)
    )
