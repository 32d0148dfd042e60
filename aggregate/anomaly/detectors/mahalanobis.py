"""Mahalanobis distance to the Gaussian of normal tokens: per patch of the grid (PaDiM) or pooled.

PaDiM (arXiv 2011.08785) has one mean and one covariance per position over a random choice of dimensions:
`covariance: each`. By default positions have their own mean and share the covariance of their residuals
(ours), which few slices can fill. Means and covariances are merged batch by batch in float64 (Chan,
Golub and LeVeque 1983).
"""

from collections.abc import Mapping
from typing import Literal, Self

import numpy as np
import torch
from jaxtyping import Float, Float64
from pydantic import Field, PositiveInt, model_validator
from torch import Tensor

from aggregate.anomaly.detectors.base import Detector, DetectorBase, Reference, SliceBatch
from aggregate.anomaly.detectors.states import expect
from cache_schema.common.errors import SlicecacheError

EACH_DIMS = 100
"""Dimensions kept for a covariance per position, as PaDiM does for its smallest backbone."""
RIDGE = 1e-6
"""Added to the diagonal, so that tokens that are all equal have a distance."""


class MahalanobisSpec(DetectorBase):
    """Distance to the Gaussian of normal tokens (PaDiM-like)."""

    kind: Literal["mahalanobis"] = "mahalanobis"
    per: Literal["position", "pooled"] = "position"
    """One mean for each patch of the grid, or one for all."""
    covariance: Literal["shared", "each"] = "shared"
    """With `per: position`: of the residuals of all positions, or one for each position (PaDiM), which
    needs more than two slices per kept dimension."""
    dims: PositiveInt | None = None
    """Dimensions of a token that are kept, drawn at random as PaDiM does; null keeps all, or 100 when each
    position has its covariance, e.g. `100`."""
    shrinkage: float = Field(default=0.01, gt=0, le=1)
    """Weight of the identity, times the mean variance, in the covariance."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.per == "pooled" and self.covariance == "each":
            raise ValueError("covariance: each needs per: position")
        return self

    @classmethod
    def examples(cls) -> tuple[Self, ...]:
        """Settings that fit a few slices."""
        return (
            cls(),
            cls(per="pooled"),
            cls(covariance="each", dims=4),
            cls(per="pooled", dims=7, shrinkage=0.2),
        )

    def build(self, seed: int) -> "Mahalanobis":
        """Make the detector of one seed."""
        return Mahalanobis(self, seed)


class Mahalanobis(Detector):
    """Keeps means (position, dim) and scatter matrices (1 or position, dim, dim)."""

    batch_slices = 16
    spec: MahalanobisSpec

    def start(self, reference: Reference) -> None:
        """Draw the dimensions and prepare empty sums.

        Raises:
            SlicecacheError: If there are too few reference slices for the covariance.
        """
        each, pooled = self.spec.covariance == "each", self.spec.per == "pooled"
        wanted = self.spec.dims or (EACH_DIMS if each else reference.dim)
        drawn = np.random.default_rng(self.seed).permutation(reference.dim)[:wanted]
        self._dims = torch.from_numpy(np.sort(drawn))
        dim, patches = len(self._dims), reference.grid[0] * reference.grid[1]
        needed = 1 if pooled else 2 * dim + 1 if each else 2
        if reference.n_slices < needed:
            raise SlicecacheError(
                f"mahalanobis: per: {self.spec.per} with covariance: {self.spec.covariance} and {dim} "
                f"dimensions needs at least {needed} reference slices, not {reference.n_slices}; use "
                + ("covariance: shared or fewer dims" if each else "per: pooled")
            )
        self._patches = 1 if pooled else patches
        self._count = torch.zeros((), dtype=torch.float64)
        self._mean = torch.zeros((self._patches, dim), dtype=torch.float64)
        self._scatter = torch.zeros((self._patches if each else 1, dim, dim), dtype=torch.float64)

    def _rows(self, batch: SliceBatch) -> Float[Tensor, "row position dim"]:
        """Tokens in the kept dimensions; pooled, every token is a row of one position."""
        tokens = batch.patches[..., self._dims].flatten(1, 2)
        return tokens if self.spec.per == "position" else tokens.flatten(0, 1)[:, None]

    def observe(self, batch: SliceBatch, epoch: int) -> None:
        """Merge a batch's mean and scatter into those so far."""
        x = self._rows(batch).double()
        n, before = len(x), float(self._count)
        mean = x.mean(0)
        self._scatter += self._products(x - mean)
        away = mean - self._mean
        self._scatter += self._products(away[None]) * (before * n / (before + n))
        self._mean += away * (n / (before + n))
        self._count += n

    def _products(self, x: Float64[Tensor, "row position dim"]) -> Float64[Tensor, "matrix dim dim"]:
        """Sum of outer products, of each position or of all."""
        if self.spec.covariance == "each":
            return torch.einsum("npd,npe->pde", x, x)
        flat = x.flatten(0, 1)
        return (flat.T @ flat)[None]

    def end_epoch(self, epoch: int, held_out: float | None) -> bool:
        """Invert the covariance."""
        self._whiten()
        return True

    def _whiten(self) -> None:
        """From the sums, what scoring needs."""
        # A shared covariance loses a degree of freedom to the mean of every position.
        matrices = 1 if self.spec.covariance == "each" else self._patches
        freedom = float(self._count - 1) * matrices
        covariance = self._scatter / max(freedom, 1.0)
        eye = torch.eye(covariance.shape[1], dtype=torch.float64)
        variance = covariance.diagonal(dim1=1, dim2=2).mean(1)[:, None, None]
        weight = self.spec.shrinkage
        covariance = (1 - weight) * covariance + (weight * variance + RIDGE) * eye
        lower = torch.linalg.cholesky(covariance)
        inverse = torch.linalg.solve_triangular(lower, eye.expand_as(lower), upper=False)
        self._whitening = inverse.transpose(1, 2).float().contiguous()
        self._centre = self._mean.float()

    def score(self, batch: SliceBatch) -> Float[Tensor, "slice row col"]:
        """The distance `sqrt((x - mean)^T covariance^-1 (x - mean))`."""
        away = self._rows(batch) - self._centre
        if self.spec.covariance == "each":
            white = torch.bmm(away.transpose(0, 1), self._whitening).transpose(0, 1)
        else:
            white = away @ self._whitening[0]
        return torch.linalg.vector_norm(white, dim=2).view(batch.foreground.shape)

    def state(self) -> dict[str, Tensor]:
        """Count, means and scatter in float64."""
        return {"count": self._count, "mean": self._mean, "scatter": self._scatter}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take sums."""
        shapes: dict[str, tuple[int | None, ...]] = {
            name: tuple(value.shape) for name, value in self.state().items()
        }
        self._count, self._mean, self._scatter = (value.clone() for value in expect(state, self, **shapes))
        self._whiten()
