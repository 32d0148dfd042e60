"""ComBat: location and scale of every site taken out of vectors, shrunk over their numbers.

Johnson, Li & Rabinovic, Biostatistics 2007 (Fortin et al., NeuroImage 2018, for brain images). With
participants i of sites s and numbers d:

    y[i, d] = alpha[d] + X[i] beta[:, d] + gamma[s, d] + delta[s, d] e[i, d]

`alpha`, `beta` and the pooled standard deviation `sigma` by least squares. Of the standardised
`z = (y - alpha - X beta) / sigma` each site has means `g` and variances `v`; over the numbers of one site the
means are normal(`m`, `t2`), the variances inverse gamma(`a`, `b`), both read off by moments. The empirical
Bayes estimates solve

    gamma* = (n t2 g + delta*^2 m) / (n t2 + delta*^2)
    delta*^2 = (b + sum_i (z - gamma*)^2 / 2) / (n / 2 + a - 1)

and a vector becomes `sigma (z - gamma*) / delta* + alpha + X beta`.

The libraries that have it were looked at and not taken: neuroCombat cannot be applied to new people,
neuroHarmonize (2.4.5) brings statsmodels and nibabel, keeps models as pickles and fits an unknown site on
the very people it is applied to. Their numbers are in the tests.
"""

from dataclasses import dataclass

import numpy as np

from aggregate.common.arrays import Floats, Ints

STEPS, CLOSE = 1000, 1e-6
"""Of the solution: at most so many, until no estimate moves by more of itself."""
NARROW = 1e-9
"""Of its mean: a number that spreads by less does not vary, and is left as it is."""


@dataclass(frozen=True, slots=True)
class Combat:
    """What was learnt."""

    alpha: Floats
    """(dim,)"""
    beta: Floats
    """Of the covariates (covariate, dim)."""
    sigma: Floats
    """(dim,); 0 where a number does not vary."""
    gamma: Floats
    """Standardised location (site, dim)."""
    delta: Floats
    """Standardised scale, a standard deviation (site, dim)."""

    def affine(self, site: Ints, covariates: Floats) -> tuple[Floats, Floats]:
        """What a vector is multiplied by and what is added, so that slices may be moved like their mean.

        `y / delta + (alpha + X beta)(1 - 1 / delta) - sigma gamma / delta`

        Args:
            site: Of every row, one that was learnt (row,).
            covariates: (row, covariate)

        Returns:
            Scale and shift (row, dim).
        """
        scale = 1 / self.delta[site]
        expected = self.alpha + covariates @ self.beta
        return scale, expected * (1 - scale) - self.sigma * self.gamma[site] * scale

    def __call__(self, y: Floats, site: Ints, covariates: Floats) -> Floats:
        """Vectors (row, dim) without their site."""
        scale, shift = self.affine(site, covariates)
        return np.asarray(y * scale + shift, dtype=np.float64)


def fit_combat(y: Floats, site: Ints, covariates: Floats) -> Combat:
    """Learn it.

    Args:
        y: Vectors (participant, dim).
        site: Index of the site; each holds at least two (participant,).
        covariates: What is preserved; no intercept (participant, covariate).
    """
    n_sites, dim = int(site.max()) + 1, y.shape[1]
    member = np.eye(n_sites)[site]
    design = np.concatenate([member, covariates], axis=1)
    found = np.linalg.lstsq(design, y, rcond=None)[0]
    alpha, beta = member.mean(axis=0) @ found[:n_sites], found[n_sites:]
    sigma = np.sqrt(((y - design @ found) ** 2).mean(axis=0))
    varies = sigma > NARROW * np.maximum(np.abs(alpha), 1e-30)
    sigma = np.where(varies, sigma, 0.0)
    z = np.where(varies, (y - alpha - covariates @ beta) / np.where(varies, sigma, 1.0), 0.0)
    gamma, delta = np.zeros((n_sites, dim)), np.ones((n_sites, dim))
    for s in range(n_sites):
        gamma[s, varies], delta[s, varies] = _shrunk(z[site == s][:, varies])
    return Combat(alpha, beta, sigma, gamma, delta)


def _shrunk(z: Floats) -> tuple[Floats, Floats]:
    """Location and scale of one site's standardised vectors (participant, dim): (dim,) each."""
    n, g, v = len(z), z.mean(axis=0), z.var(axis=0, ddof=1)
    if z.shape[1] < 2 or not np.ptp(g) or not np.ptp(v):  # nothing to learn a prior from
        return g, np.sqrt(np.maximum(v, NARROW))
    m, t2 = g.mean(), g.var(ddof=1)
    mean, spread = v.mean(), v.var(ddof=1)
    a, b = (2 * spread + mean**2) / spread, (mean * spread + mean**3) / spread
    gamma, square = g, v
    squares = (z**2).sum(axis=0)
    for _ in range(STEPS):
        new = (n * t2 * g + square * m) / (n * t2 + square)
        rest = squares - 2 * new * n * g + n * new**2
        wide = (b + rest / 2) / (n / 2 + a - 1)
        moved = max(_moved(gamma, new), _moved(square, wide))
        gamma, square = new, wide
        if moved <= CLOSE:
            break
    return gamma, np.sqrt(square)


def _moved(old: Floats, new: Floats) -> float:
    return float((np.abs(new - old) / np.maximum(np.abs(old), 1e-30)).max())
