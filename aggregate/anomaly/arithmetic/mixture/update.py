"""One step of the DPMM's fit: MAP-EM on exponentially averaged statistics (arXiv 2509.19997).

Tokens y_n are L2-normalised, n of N in a batch; components k of K; rate rho. E: `log r_nk = log pi_k +
log N(y_n | mu_k, S_k) - logsumexp_k`. Statistics: `R <- (1 - rho) R + rho mean_n r_nk`, M likewise of
`r_nk y_n`, C of `r_nk y_n^2` (of `r_nk y_n y_n'` for full covariances), from 0, without bias correction.
M: `mu = M / (R + eps)`, `S = C / (R + eps) - mu^2 + reg`.

All of it in float64: a variance of 1e-6 is what is left of C and mu^2 of 1e-1, of which float32 would
keep one digit; on CPUs float64 takes no longer here, for float32's small responsibilities are denormal.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from aggregate.anomaly.arithmetic.mixture.gaussians import density_bound, log_density
from aggregate.anomaly.arithmetic.mixture.rules import DpmmRules, taking_part

HOPEFUL = 1e-10
"""Components of more weight are evaluated for every token; others where their bound lets them matter."""
NEGLIGIBLE = 1e-30
"""Smaller responsibilities are 0: under any `eps` they could not change any digit of a mean."""
DPMM_BLOCK = 2048
"""Tokens at a time, so that memory does not grow with the batch."""
DPMM_BLOCK_FULL = 16384
"""The same for full covariances, where each block factors every matrix anew."""


@dataclass(frozen=True, slots=True)
class Mixture:
    """Weights and Gaussians, float64."""

    log_weight: Float[Tensor, " component"]
    mean: Float[Tensor, "component dim"]
    covariance: Float[Tensor, "component dim *dim2"]
    """The diagonal, (component, dim), or full, (component, dim, dim)."""
    reg: float
    """No direction has less variance."""

    def take(self, index: Int[Tensor, " picked"] | Bool[Tensor, " component"]) -> "Mixture":
        """Some of the components."""
        return Mixture(self.log_weight[index], self.mean[index], self.covariance[index], self.reg)

    def log_joint(self, tokens: Float[Tensor, "token dim"]) -> Float[Tensor, "token component"]:
        """`log pi_k + log N(y_n | mu_k, S_k)`."""
        return log_density(tokens, self.mean, self.covariance) + self.log_weight


@dataclass(slots=True)
class Statistics:
    """Running means over batches, float64; changed in place."""

    mass: Float[Tensor, " component"]
    first: Float[Tensor, "component dim"]
    second: Float[Tensor, "component dim *dim2"]

    @classmethod
    def zero(cls, components: int, dim: int, full: bool) -> "Statistics":
        """As they start."""
        shape = (components, dim, dim) if full else (components, dim)
        mass, first = torch.zeros(components), torch.zeros(components, dim)
        return cls(mass.double(), first.double(), torch.zeros(shape, dtype=torch.float64))

    def gaussians(self, reg: float, eps: float, spherical: bool = False) -> tuple[Tensor, Tensor]:
        """Means and covariances that they stand for; spherical ones are the mean of the diagonal."""
        inverse = 1 / (self.mass + eps)
        mean = self.first * inverse[:, None]
        if self.second.ndim == 2:
            variance = self.second * inverse[:, None] - mean.square() + reg
            return mean, variance.mean(1, keepdim=True).expand_as(variance) if spherical else variance
        covariance = self.second * inverse[:, None, None]
        covariance -= mean[:, :, None] * mean[:, None, :]
        covariance.diagonal(dim1=1, dim2=2).add_(reg)
        return mean, covariance


def observe(tokens: Float[Tensor, "token dim"], mixture: Mixture, to: Statistics, rate: float) -> float:
    """Take a batch into the running statistics: the E step.

    Returns:
        `sum_n log p(y_n)` under the mixture.
    """
    total = 0.0
    for part in (to.mass, to.first, to.second):
        part *= 1 - rate
    for block, index, log_joint in evidence_blocks(tokens, mixture):
        total += float(log_joint.logsumexp(1).sum())
        share = torch.nn.functional.threshold(log_joint.softmax(1), NEGLIGIBLE, 0.0, inplace=True)
        share *= rate / len(tokens)
        to.mass.index_add_(0, index, share.sum(0))
        to.first.index_add_(0, index, share.T @ block)
        if to.second.ndim == 2:
            to.second.index_add_(0, index, share.T @ block.square())
        else:
            _add_products(to.second, index, share, block)
    return total


def _add_products(
    second: Float[Tensor, "component dim dim"],
    index: Int[Tensor, " picked"],
    share: Float[Tensor, "token picked"],
    block: Float[Tensor, "token dim"],
) -> None:
    # Nearly every responsibility is 0, so that the products of all tokens cost as much as one component's.
    for place, component in enumerate(index.tolist()):
        of = share[:, place].nonzero().squeeze(1)
        members = block[of]
        second[component].addmm_((members * share[of, place, None]).T, members)


def evidence_blocks(
    tokens: Float[Tensor, "token dim"], mixture: Mixture
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Blocks of tokens, the components that matter to any of them, and their log joints (token, picked).

    A component matters where it could have a responsibility of NEGLIGIBLE or more. Those with weight are
    evaluated; then those of the rest whose bound on the density of any token of that norm reaches the
    least likely token's evidence times NEGLIGIBLE. So a step costs what the living components cost.
    """
    full = mixture.covariance.ndim == 3
    alive = mixture.log_weight > math.log(HOPEFUL)
    living, of_living = mixture.take(alive), alive.nonzero().squeeze(1)
    norm = float(torch.linalg.vector_norm(tokens, dim=1).min())
    bound = mixture.log_weight + density_bound(norm, mixture.mean, mixture.covariance, mixture.reg)
    rest = ~alive & (mixture.log_weight > -math.inf)
    for block in tokens.split(DPMM_BLOCK_FULL if full else DPMM_BLOCK):
        index, log_joint = of_living, living.log_joint(block)
        least = float(log_joint.logsumexp(1).min()) + math.log(NEGLIGIBLE)
        more = (rest & (bound >= least)).nonzero().squeeze(1)
        if len(more):
            index = torch.cat([index, more])
            log_joint = torch.cat([log_joint, mixture.take(more).log_joint(block)], 1)
        yield block, index, log_joint


def negative_log_likelihood(tokens: Float[Tensor, "token dim"], mixture: Mixture) -> Float[Tensor, " token"]:
    """`-log p(y_n)`, float64."""
    return torch.cat([-joint.logsumexp(1) for _, _, joint in evidence_blocks(tokens, mixture)])


def stick_shares(
    mass: Float[Tensor, " component"], n_tokens: int, concentration: float, rules: DpmmRules
) -> Float[Tensor, " component"]:
    """`v_k = R_k / (R_k + (alpha - 1) / N + T_k + eps)` with `T_k = sum_{j>k} R_j`; `v_K = 1` or free.

    Clamped to [0, 1]: with alpha < 1 the mode of a stick with little behind it lies beyond.
    """
    behind = _behind(mass)
    below = mass + (concentration - 1) / n_tokens + behind + rules.eps
    # At or below 0 the mode is at 1 for a stick with mass.
    share = torch.where(below > 0, mass / below, (mass > 0).to(mass.dtype)).clamp(0, 1)
    if not rules.last_stick_free:
        share[-1] = 1
    return share


def next_concentration(mass: Float[Tensor, " component"], n_tokens: int, concentration: float) -> float:
    """`(K - 1) / sum_{k<K} [psi(N (R_k + T_k) + alpha + 1) - psi(N T_k + alpha)]`; unchanged for K = 1."""
    if len(mass) == 1:
        return concentration
    behind = _behind(mass)
    ahead = torch.digamma(n_tokens * (mass + behind) + concentration + 1)
    rest = torch.digamma(n_tokens * behind + concentration)
    return (len(mass) - 1) / float((ahead - rest)[:-1].sum())


def log_weights(share: Float[Tensor, " component"], least: float = -math.inf) -> Float[Tensor, " component"]:
    """`log pi_k = log v_k + sum_{j<k} log(1 - v_j)`, -inf where that is no more than `least`."""
    left = torch.log1p(-share[:-1]).cumsum(0)
    weights = share.log() + torch.cat([share.new_zeros(1), left])
    return weights if least == -math.inf else taking_part(weights, least)


def _behind(mass: Float[Tensor, " component"]) -> Float[Tensor, " component"]:
    # Summed from the end: the total less a running sum would leave rounding where nothing is left.
    return torch.cat([mass.flip(0).cumsum(0).flip(0)[1:], mass.new_zeros(1)])
