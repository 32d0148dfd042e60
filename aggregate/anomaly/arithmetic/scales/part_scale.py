"""Scores of several detectors on one scale, and their votes, by what normals outside the fit are like.

    z_p = (s_p - mean_p(height)) / sd_p(height)
    mean:        sum_p z_p / P
    max:         max_p z_p
    covariance:  sum_p w_p z_p,  w ~ C^-1 1, C the correlation of the parts on normals

`covariance` is the most powerful linear rule where a lesion moves every part by one standard deviation
(O'Brien, Biometrics 1984): parts that say the same share one vote. A negative weight would make what is odd
to a part normal, and counts as 0.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from aggregate.anomaly.arithmetic.heights import HEIGHT_BINS, height_bin
from aggregate.anomaly.arithmetic.scales.height_scale import fit_heights

QUIET = 1e-6
"""A part whose scores of normals vary less than this says nothing and has no vote: rounding is no sign."""
SHRINKAGE = 0.1
"""Weight of the identity in the parts' correlation."""

Vote = Literal["mean", "max", "covariance"]


@dataclass(frozen=True, slots=True)
class PartScale:
    """By part and height what normals' scores are like, and the parts' weights."""

    mean: Float64[Tensor, "part bin"]
    precision: Float64[Tensor, "part bin"]
    """One over the standard deviation; 0 of a part that is quiet."""
    weights: Float64[Tensor, " part"]
    """They add up to 1, or to 0 where every part is quiet."""

    def standardise(
        self, scores: Float[Tensor, "slice row col part"], height_mm: Float[Tensor, " slice"]
    ) -> Float64[Tensor, "slice row col part"]:
        """Scores in standard deviations from normals."""
        place = height_bin(height_mm)
        mean, precision = (table[:, place].T[:, None, None] for table in (self.mean, self.precision))
        return (scores.double() - mean) * precision


def no_scale(parts: int) -> PartScale:
    """That of a combination that has seen no normals yet."""
    table = torch.zeros((parts, HEIGHT_BINS), dtype=torch.float64)
    return PartScale(table, table.clone(), torch.zeros(parts, dtype=torch.float64))


def common_scale(
    scores: Float[Tensor, "token part"], height_mm: Float[Tensor, " token"], vote: Vote, per_height: bool
) -> PartScale:
    """The scale that normals' scores give.

    Args:
        scores: Of foreground tokens of normals outside the fit.
        height_mm: Of each token's slice.
        vote: How parts will be put together.
        per_height: Whether mean and deviation are those of normals at the same height, or of all.
    """
    standing = [_standing(own.double(), height_mm, per_height) for own in scores.unbind(1)]
    mean, precision = (torch.stack(tables) for tables in zip(*standing, strict=True))
    place = height_bin(height_mm)
    z = (scores.double() - mean[:, place].T) * precision[:, place].T
    return PartScale(mean, precision, _weights(z, precision.amax(1) > 0, vote))


def _standing(
    scores: Float64[Tensor, " token"], height_mm: Float[Tensor, " token"], per_height: bool
) -> tuple[Float64[Tensor, " bin"], Float64[Tensor, " bin"]]:
    """Mean and precision of one part by height."""
    middle, spread = scores.mean(), scores.std(correction=0)
    flat = torch.ones(HEIGHT_BINS, dtype=torch.float64)
    if spread < QUIET:
        return flat * middle, flat * 0
    if not per_height:
        return flat * middle, flat / spread
    found = fit_heights(scores, height_mm)
    return found.mean, 1 / found.sd


def _weights(
    z: Float64[Tensor, "token part"], heard: Bool[Tensor, " part"], vote: Vote
) -> Float64[Tensor, " part"]:
    """The parts' votes; `heard` are those whose scores vary."""
    votes = heard.double()
    if not heard.any():
        return votes
    if vote == "covariance":
        own = z[:, heard]
        own = (own - own.mean(0)) / own.std(0, correction=0).clamp_min(1e-12)
        correlation = (1 - SHRINKAGE) * (own.T @ own) / len(own)
        correlation += SHRINKAGE * torch.eye(len(correlation), dtype=torch.float64)
        votes[heard] = torch.linalg.solve(correlation, votes[heard]).clamp_min(0)
    return votes / votes.sum()
