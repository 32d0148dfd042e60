"""The statistics of real brains' tokens that planted cohorts are drawn from (`planted_cohorts.py`).

A bag is a curve that everybody shares, along the height below the vertex; the participant's own offset and
linear trend along it; and what single slices add, which neighbours share in part:

    x[i, s] = mean(height of s) + offset[i] + trend[i] t[s] + residual[i, s],    t from -1 to 1

Offset and trend are drawn together from the covariance between participants, residuals from that between
slices: a few factors that hold most of the variance, the rest per dimension. Along height each factor is an
autoregression of order one. Offset and trend are taken out of the residuals, both where the model is fitted
and where it is drawn from, so that they are counted once.
"""

import hashlib
import subprocess
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
import yaml
from numpy.typing import NDArray

from aggregate.bags.bags import Bags, read_bags
from aggregate.common.arrays import Floats
from cache_schema.store.reader import StoreReader

HELD = 0.95
"""Share of the variance that factors hold; the rest is drawn per dimension."""


@dataclass(frozen=True)
class Factors:
    """A covariance: low rank and diagonal."""

    low: Floats
    """(factor, column): a row is a direction times its standard deviation."""
    rest: Floats
    """Standard deviation of what is left (column,)."""

    def draw(self, normal: NDArray[np.float32], left: NDArray[np.float32]) -> NDArray[np.float32]:
        """Standard normal numbers (..., factor) and (..., column) made into columns."""
        return normal @ self.low.astype(np.float32) + left * self.rest.astype(np.float32)

    def distance(self, shift: Floats) -> float:
        """Mahalanobis length of a shift (column,)."""
        covariance = self.low.T @ self.low + np.diag(np.maximum(self.rest**2, 1e-12))
        return float(np.sqrt(shift @ np.linalg.solve(covariance, shift)))


@dataclass(frozen=True)
class Statistics:
    """What a cohort is drawn from."""

    height_mm: Floats
    """Places, below the vertex, lowest first as in a store (place,)."""
    mean: Floats
    """(place, dim)"""
    people: Factors
    """Offset and trend side by side: 2 dim columns."""
    slices: Factors
    """Residuals: dim columns."""
    kept_of_factor: Floats
    """Correlation of neighbouring places, per factor of `slices` (factor,)."""
    kept_of_rest: float
    """The same of what factors do not hold."""
    spread: Floats
    """Of residuals at each place, 1 on average of squares (place,)."""

    @property
    def dim(self) -> int:
        """Length of a token."""
        return self.mean.shape[1]

    @cached_property
    def digest(self) -> str:
        """Of all numbers, so that what was derived from them can be kept beside them."""
        factors = [self.people.low, self.people.rest, self.slices.low, self.slices.rest]
        others = [self.height_mm, self.mean, self.kept_of_factor, np.array(self.kept_of_rest), self.spread]
        parts = factors + others
        return hashlib.sha256(b"".join(np.round(p, 6).tobytes() for p in parts)).hexdigest()[:12]


def simulated_store(folder: Path, participants: int = 60) -> Path:
    """Embed a simulated cohort without effect by an untrained ViT-S of 384 numbers, once (minutes).

    Returns:
        The store, in the folder.
    """
    store = folder / "brains.zarr"
    extract = {
        "input": {"bids": "brains", "suffix": "T1w"},
        "slices": {"kind": "every", "step_mm": 3},
        "backbone": {"kind": "untrained", "size": "small", "seed": 0},
        "tokens": ["cls", "patch_mean"],
    }
    pipeline = {"run": {"folder": "run"}, "cache": {"store": store.name}, "extract": extract}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "brains.yaml").write_text(yaml.safe_dump(pipeline))
    simulate = ["simulate", "brains", "--participants", str(participants), "--effect", "none", "--seed", "0"]
    for words in ([] if (folder / "brains").exists() else [simulate]) + [["extract", "brains.yaml"]]:
        subprocess.run([sys.executable, "-m", "slicecache", *words], cwd=folder, check=True)
    return store


def store_bags(store: StoreReader, tokens: str, dim: int | None = None) -> Bags:
    """One volume per participant, the first; `dim` evenly spaced columns of the tokens, or all of them."""
    first = {entry.key.participant_id: entry for entry in reversed(store.entries)}
    bags = read_bags(store, list(first.values())[::-1], tokens)
    width = bags.x.shape[2]
    columns = torch.arange(dim or width) * width // (dim or width)
    return Bags(bags.x[:, :, columns], bags.keep, bags.height_mm)


def fit_statistics(store: StoreReader, tokens: str, slices: int = 50, dim: int | None = None) -> Statistics:
    """Fit the model to a store's tokens, on so many places from the lowest slice to the vertex."""
    return fit_bags(store_bags(store, tokens, dim), slices)


def fit_bags(bags: Bags, slices: int = 50) -> Statistics:
    """Fit the model to bags whose slices lie one above the other."""
    parts = take_apart(bags, slices)
    people = parts.own - parts.own.mean(axis=0)
    between, _ = factorise(people, len(people) - 1)
    every = np.concatenate(parts.residuals)
    within, directions = factorise(every, len(every))
    held = [r @ directions.T for r in parts.residuals]
    left = [r - h @ directions for r, h in zip(parts.residuals, held, strict=True)]
    kept = np.append(neighbours(held), neighbours([r.ravel()[:, None] for r in left], len(people[0]) // 2))
    # A line through a bag's slices takes part of what an autoregression gives; here it is put back.
    kept, share = before_line(kept, int(np.median([len(r) for r in held])))
    within = Factors(within.low / np.sqrt(share[:-1, None]), within.rest / np.sqrt(share[-1]))
    step = abs(parts.height_mm[0] - parts.height_mm[-1]) / (slices - 1)
    kept = kept ** (step / parts.gap_mm)
    return Statistics(parts.height_mm, parts.mean, between, within, kept[:-1], float(kept[-1]), parts.spread)


@dataclass(frozen=True)
class Parts:
    """Real bags taken apart."""

    height_mm: Floats
    """Places (place,)."""
    mean: Floats
    """The curve that all share (place, dim)."""
    own: Floats
    """Offset and trend of each bag, side by side (bag, 2 dim)."""
    residuals: list[Floats]
    """What is left of each bag (slice, dim)."""
    spread: Floats
    """Of residuals near each place, 1 on average of squares (place,)."""
    gap_mm: float
    """Between neighbouring slices."""


def take_apart(bags: Bags, slices: int) -> Parts:
    """The curve by a kernel of half a place's width, then a line through every bag."""
    kept = [k.numpy() for k in bags.keep]
    volumes = [x.numpy()[k].astype(float) for x, k in zip(bags.x, kept, strict=True)]
    heights = [h.numpy()[k].astype(float) for h, k in zip(bags.height_mm, kept, strict=True)]
    bottom, top = (float(np.median([edge(h) for h in heights])) for edge in (np.max, np.min))
    places = np.linspace(bottom, top, slices)
    distance = (places[:, None] - np.concatenate(heights)) / (0.5 * (bottom - top) / (slices - 1))
    near = np.exp(-0.5 * distance**2) + 1e-300
    near /= near.sum(axis=1, keepdims=True)
    mean = near @ np.concatenate(volumes)
    own, residuals = [], []
    for x, height in zip(volumes, heights, strict=True):
        excess, basis = x - between_places(height, places, mean), line(len(x))
        own.append(np.linalg.lstsq(basis, excess, rcond=None)[0])
        residuals.append(excess - basis @ own[-1])
    variance = near @ (np.concatenate(residuals) ** 2).sum(axis=1)
    gap = float(np.mean([np.abs(np.diff(h)).mean() for h in heights]))
    return Parts(
        places,
        mean,
        np.stack(own).reshape(len(own), -1),
        residuals,
        np.sqrt(variance / variance.mean()),
        gap,
    )


def between_places(height: Floats, places: Floats, mean: Floats) -> Floats:
    """The curve at any height, linear between places and constant beyond them: (slice, dim)."""
    at = np.interp(-height, -places, np.arange(len(places)))
    low = np.minimum(at.astype(int), len(places) - 2)
    share = (at - low)[:, None]
    return np.asarray((1 - share) * mean[low] + share * mean[low + 1])


def line(n: int) -> Floats:
    """An offset, and a trend from -1 to 1: (slice, 2)."""
    return np.stack([np.ones(n), np.linspace(-1, 1, n)], axis=1)


def factorise(table: Floats, freedom: int) -> tuple[Factors, Floats]:
    """The covariance of rows around 0 as factors, and the factors' unit directions (factor, column)."""
    _, size, directions = np.linalg.svd(table, full_matrices=False)
    share = np.cumsum(size**2) / (size**2).sum()
    rank = int(np.searchsorted(share, HELD)) + 1
    low = directions[:rank] * size[:rank, None] / np.sqrt(freedom)
    rest = (table**2).sum(axis=0) / freedom - (low**2).sum(axis=0)
    return Factors(low, np.sqrt(np.maximum(rest, 0))), directions[:rank]


def neighbours(series: list[Floats], lag: int = 1) -> Floats:
    """Correlation of neighbours along the first axis, of series around 0: (column,)."""
    products = sum((s[lag:] * s[:-lag]).sum(axis=0) for s in series)
    return np.asarray(products / sum((s**2).sum(axis=0) for s in series))


def before_line(found: Floats, n: int) -> tuple[Floats, Floats]:
    """From correlations of `n` slices without their line to those of the autoregression itself.

    Returns:
        The latter, and the share of variance that the line left.
    """
    basis = line(n)
    without = np.eye(n) - basis @ np.linalg.pinv(basis)
    tried = np.linspace(0, 0.98, 99)
    lags = np.abs(np.subtract.outer(np.arange(n), np.arange(n)))
    covariances = [without @ r**lags @ without for r in tried]
    share = np.array([np.trace(c) / n for c in covariances])
    seen = np.array([np.trace(c, 1) / np.trace(c) for c in covariances])
    true = np.interp(found, seen, tried)
    return true, np.interp(true, tried, share)
