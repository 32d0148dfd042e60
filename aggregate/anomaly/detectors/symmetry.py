"""Left against right: how far a patch is from what normals have there, given the other side of the head.

Normals give a linear prediction `y ~ m + W (x - n)` of a patch `y` by the mean `x` of the patches about its
mirrored place, and the covariance of what is left; the score is the Mahalanobis length of that. A
prediction and not a difference, since a network's token of mirrored tissue is no mirrored token. The slice
is mirrored about the centre of its foreground. Both sides of an asymmetry score: which of them is ill
another detector has to say (see `combined`).
"""

from collections.abc import Mapping
from typing import Literal, Self

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor

from aggregate.anomaly.arithmetic.mirror import midline, other_side
from aggregate.anomaly.detectors.base import Detector, DetectorBase, Reference, SliceBatch
from aggregate.anomaly.detectors.states import expect
from cache_schema.common.errors import SlicecacheError

RIDGE = 1e-6
"""Added to variances, so that what is equal everywhere has a distance."""


class SymmetrySpec(DetectorBase):
    """Distance to what normals have, given the mirrored side (axial slices)."""

    kind: Literal["symmetry"] = "symmetry"
    of: Literal["tokens", "intensity"] = "tokens"
    """What is compared: patch tokens, or the patches' mean intensity."""
    reach: int = Field(default=1, ge=1, le=8)
    """Patches about the mirrored one, in rows and columns, that are averaged: heads are a little tilted."""
    shrinkage: float = Field(default=0.01, gt=0, le=1)
    """Weight of the identity, times the mean variance, in both covariances."""

    @classmethod
    def examples(cls) -> tuple[Self, ...]:
        """Settings that fit a few slices."""
        return (cls(), cls(reach=2, shrinkage=0.2), cls(of="intensity"))

    def build(self, seed: int) -> "Symmetry":
        """Make the detector of one seed."""
        return Symmetry(self, seed)


class Symmetry(Detector):
    """Keeps count, mean and scatter of pairs `(x, y)` of foreground patches."""

    batch_slices = 16
    spec: SymmetrySpec

    def __init__(self, spec: SymmetrySpec, seed: int) -> None:
        """Hold the spec and the seed."""
        super().__init__(spec, seed)
        self.sees_tokens = spec.of == "tokens"

    def start(self, reference: Reference) -> None:
        """Prepare empty sums."""
        self._features = reference.dim if self.sees_tokens else 1
        both = 2 * self._features
        self._count = torch.zeros((), dtype=torch.float64)
        self._mean = torch.zeros(both, dtype=torch.float64)
        self._scatter = torch.zeros((both, both), dtype=torch.float64)

    def _pairs(
        self, batch: SliceBatch
    ) -> tuple[Float[Tensor, "slice row col both"], Bool[Tensor, "slice row col"]]:
        """The other side's mean and the patch itself; and which foreground patches have another side."""
        values = batch.patches if self.sees_tokens else batch.intensity[..., None]
        other = other_side(values, midline(batch.foreground), self.spec.reach)
        return torch.cat([other.mean, values], dim=3), other.there & (batch.foreground > 0)

    def observe(self, batch: SliceBatch, epoch: int) -> None:
        """Merge a batch's mean and scatter into those so far (Chan, Golub and LeVeque 1983)."""
        pairs, counted = self._pairs(batch)
        rows = pairs[counted].double()
        n, before = len(rows), float(self._count)
        if not n:
            return
        mean = rows.mean(0)
        away, shift = rows - mean, mean - self._mean
        self._scatter += away.T @ away + torch.outer(shift, shift) * (before * n / (before + n))
        self._mean += shift * (n / (before + n))
        self._count += n

    def end_epoch(self, epoch: int, held_out: float | None) -> bool:
        """Work out the prediction.

        Raises:
            SlicecacheError: If the reference has no pair.
        """
        if self._count < 2:
            raise SlicecacheError(
                "symmetry: no slice of the reference has foreground on both sides; use axial slices of heads"
            )
        self._predict()
        return True

    def _predict(self) -> None:
        """From the sums, what scoring needs."""
        n, covariance = self._features, self._scatter / (self._count - 1).clamp_min(1)
        xx, yx, yy = covariance[:n, :n], covariance[n:, :n], covariance[n:, n:]
        weights = torch.linalg.solve(self._shrunk(xx, keep=1.0), yx.T).T
        left = yy - weights @ yx.T - yx @ weights.T + weights @ xx @ weights.T
        lower = torch.linalg.cholesky(self._shrunk(left, keep=1 - self.spec.shrinkage))
        inverse = torch.linalg.solve_triangular(lower, torch.eye(n, dtype=torch.float64), upper=False)
        # White residual = inverse (y - m - W (x - n)), as one product with (x, y) together.
        self._whitening = torch.cat([-inverse @ weights, inverse], dim=1).T.float().contiguous()
        self._centre = self._mean.float()

    def _shrunk(self, covariance: Tensor, keep: float) -> Tensor:
        """So much of it, and of its mean variance on the diagonal."""
        add = self.spec.shrinkage * covariance.diagonal().mean() + RIDGE
        return keep * covariance + add * torch.eye(len(covariance), dtype=torch.float64)

    def score(self, batch: SliceBatch) -> Float[Tensor, "slice row col"]:
        """The length of the white residual in the foreground, 0 elsewhere."""
        pairs, counted = self._pairs(batch)
        length = torch.linalg.vector_norm((pairs - self._centre) @ self._whitening, dim=3)
        return torch.where(counted, length, 0.0)

    def state(self) -> dict[str, Tensor]:
        """Count, means and scatter in float64."""
        return {"count": self._count, "mean": self._mean, "scatter": self._scatter}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take sums."""
        both = 2 * self._features
        self._count, self._mean, self._scatter = (
            value.clone() for value in expect(state, self, count=(), mean=(both,), scatter=(both, both))
        )
        if self._count >= 2:
            self._predict()
