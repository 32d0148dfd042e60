"""How far tokens are from the components of a mixture, in the ways that `dpmm` scores by."""

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from aggregate.anomaly.arithmetic.mixture.gaussians import squared_mahalanobis
from aggregate.anomaly.arithmetic.mixture.update import Mixture, negative_log_likelihood

TokenScore = Literal[
    "cosine", "likelihood", "euclidean", "squared_euclidean", "mahalanobis", "squared_mahalanobis"
]
SHORTEST = 1e-8
"""Means are not made longer than from this, so that a dead component's direction counts for nothing."""


def cosines(
    tokens: Float[Tensor, "token dim"], mean: Float[Tensor, "component dim"]
) -> Float[Tensor, "token component"]:
    """`|y| cos(y, mu_k)`, in the tokens' precision."""
    unit = mean / torch.linalg.vector_norm(mean, dim=1, keepdim=True).clamp_min(SHORTEST)
    return tokens @ unit.to(tokens.dtype).T


def cosine_scores(
    tokens: Float[Tensor, "token dim"], mean: Float[Tensor, "component dim"]
) -> Float[Tensor, " token"]:
    """`1 - max_k cos(y, mu_k)`, at least 0."""
    length = torch.linalg.vector_norm(tokens, dim=1).clamp_min(1e-12)
    return (1 - cosines(tokens, mean).amax(1) / length).clamp_min(0)


def squared_euclidean(
    tokens: Float[Tensor, "token dim"], mean: Float[Tensor, "component dim"]
) -> Float[Tensor, "token component"]:
    """`|y - mu_k|^2`; float64 bears the cancellation."""
    joint = torch.addmm(mean.square().sum(1), tokens, mean.T, alpha=-2)
    return (joint + tokens.square().sum(1, keepdim=True)).clamp_min(0)


def token_scores(
    kind: TokenScore, tokens: Float[Tensor, "token dim"], mixture: Mixture
) -> Float[Tensor, " token"]:
    """How anomalous tokens are.

    Args:
        kind: `cosine`; `likelihood` for `-log p`; or the distance to the nearest component.
        tokens: As the mixture was fitted to them, float64.
        mixture: Its living components.
    """
    if kind == "cosine":
        return cosine_scores(tokens, mixture.mean)
    if kind == "likelihood":
        return negative_log_likelihood(tokens, mixture)
    if kind.endswith("mahalanobis"):
        found = squared_mahalanobis(tokens, mixture.mean, mixture.covariance)
    else:
        found = squared_euclidean(tokens, mixture.mean)
    least = found.amin(1)
    return least if kind.startswith("squared") else least.sqrt()


def most_responsible(tokens: Float[Tensor, "token dim"], mixture: Mixture) -> Int[Tensor, " token"]:
    """The component that each token most probably comes from, counted from the heaviest."""
    rank = mixture.log_weight.argsort(descending=True).argsort()
    return rank[mixture.log_joint(tokens).argmax(1)]
