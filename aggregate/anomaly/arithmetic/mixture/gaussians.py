"""Log densities of many tokens under many Gaussians, and a bound that spares evaluating the hopeless ones."""

import math

import torch
from jaxtyping import Float
from torch import Tensor


def log_density(
    tokens: Float[Tensor, "token dim"],
    mean: Float[Tensor, "component dim"],
    covariance: Float[Tensor, "component dim *dim2"],
) -> Float[Tensor, "token component"]:
    """`log N(y_n | mu_k, S_k)` for diagonal (component, dim) or full (component, dim, dim) covariances."""
    return (_diagonal if covariance.ndim == 2 else _full)(tokens, mean, covariance)


def _diagonal(tokens: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    # The square expanded, so that all pairs are two matrix products; float64 bears the cancellation.
    precision = 1 / variance
    pull = mean * precision
    constant = -0.5 * (variance.log() + mean * pull + math.log(2 * math.pi)).sum(1)
    joint = torch.addmm(constant, tokens, pull.T)
    return joint.addmm_(tokens.square(), precision.T, alpha=-0.5)


def _full(tokens: Tensor, mean: Tensor, covariance: Tensor) -> Tensor:
    density = tokens.new_empty(len(tokens), len(mean))
    for k, (centre, matrix) in enumerate(zip(mean, covariance, strict=True)):
        root = torch.linalg.cholesky(matrix)
        log_root = root.diagonal().log().sum() + 0.5 * len(centre) * math.log(2 * math.pi)
        density[:, k] = -0.5 * _whitened(tokens - centre, root) - log_root
    return density


def _whitened(away: Tensor, root: Tensor) -> Tensor:
    return torch.linalg.solve_triangular(root, away.T, upper=False).square().sum(0)


def squared_mahalanobis(
    tokens: Float[Tensor, "token dim"],
    mean: Float[Tensor, "component dim"],
    covariance: Float[Tensor, "component dim *dim2"],
) -> Float[Tensor, "token component"]:
    """`(y_n - mu_k)' S_k^-1 (y_n - mu_k)`, at least 0."""
    if covariance.ndim == 2:
        precision = 1 / covariance
        pull = mean * precision
        joint = torch.addmm((mean * pull).sum(1), tokens, pull.T, alpha=-2)
        return joint.addmm_(tokens.square(), precision.T).clamp_min_(0)
    away = [
        _whitened(tokens - centre, torch.linalg.cholesky(matrix))
        for centre, matrix in zip(mean, covariance, strict=True)
    ]
    return torch.stack(away, 1)


def density_bound(
    norm: float,
    mean: Float[Tensor, "component dim"],
    covariance: Float[Tensor, "component dim *dim2"],
    least_variance: float,
) -> Float[Tensor, " component"]:
    """No token of at least this norm has a larger log density.

    Its distance to the mean is at least `norm - |mu|`; no direction has more variance than `spread`, and
    none of a full covariance less than `least_variance`.
    """
    dim = mean.shape[1]
    if covariance.ndim == 2:
        spread, log_volume = covariance.amax(1), covariance.log().sum(1)
    else:
        # The largest row sum bounds the largest eigenvalue, without the factorisation that is to be spared.
        spread = covariance.abs().sum(2).amax(1)
        log_volume = mean.new_tensor(dim * math.log(least_variance))
    reach = (norm - torch.linalg.vector_norm(mean, dim=1)).clamp_min(0)
    return -0.5 * (reach.square() / spread + log_volume + dim * math.log(2 * math.pi))
