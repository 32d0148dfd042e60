"""k-means, seeded: Lloyd's steps for many points, and for many small sets of points side by side."""

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cache_schema.common.terminal.progress import Progress

KMEANS_BLOCK = 16_384
"""Points in one product."""


def kmeans(
    points: Float[Tensor, "point dim"],
    k: int,
    seed: int,
    iterations: int = 10,
    progress: Progress | None = None,
) -> Float[Tensor, "centroid dim"]:
    """Centroids after a fixed number of Lloyd's steps from `k` different points drawn at random.

    A centroid without points stays where it is.
    """
    k = min(k, len(points))
    start = np.random.default_rng(seed).choice(len(points), size=k, replace=False)
    centroids = points[torch.from_numpy(np.sort(start))]
    for done in range(iterations):
        if progress is not None:
            progress(done, iterations)
        sums, counts = torch.zeros_like(centroids), centroids.new_zeros(k)
        for part in points.split(KMEANS_BLOCK):
            # |x|^2 is the same for all centroids.
            nearest = torch.addmm(centroids.square().sum(1), part, centroids.T, alpha=-2).argmin(1)
            sums.index_add_(0, nearest, part)
            counts += torch.bincount(nearest, minlength=k)
        filled = counts > 0
        centroids = torch.where(filled[:, None], sums / counts.clamp_min(1)[:, None], centroids)
    return centroids


def kmeans_each(
    points: Float[Tensor, "set point dim"],
    inside: Bool[Tensor, "set point"],
    k: int,
    seeds: list[list[int]],
    restarts: int = 10,
    iterations: int = 20,
) -> Float[Tensor, "set centroid dim"]:
    """k-means of each set by itself, the best of several starts.

    Args:
        points: All sets, padded to one length.
        inside: Which points count; at least `k` in every set.
        k: Centroids.
        seeds: Of each set.
        restarts: Starts from other random points; the one with the least inertia is returned.
        iterations: Lloyd's steps, at most.
    """
    start = _starts(inside, k, seeds, restarts)
    sets = torch.arange(len(points))[:, None, None]
    centroids = points[sets, start]
    nearest = None
    for _ in range(iterations):
        before, nearest = nearest, _distances(points, centroids).argmin(3)
        if before is not None and torch.equal(before, nearest):
            break
        member = torch.nn.functional.one_hot(nearest, k).to(points) * inside[:, :, None, None]
        counts = member.sum(1)[..., None]
        sums = (member.flatten(2).transpose(1, 2) @ points).view_as(centroids)
        centroids = torch.where(counts > 0, sums / counts.clamp_min(1), centroids)
    inertia = torch.where(inside[..., None], _distances(points, centroids).amin(3), 0.0).sum(1)
    return centroids[torch.arange(len(points)), inertia.argmin(1)]


def _distances(
    points: Float[Tensor, "set point dim"], centroids: Float[Tensor, "set restart centroid dim"]
) -> Float[Tensor, "set point restart centroid"]:
    """Squared distances less the points' own squared lengths, which are the same for all centroids."""
    flat = centroids.flatten(1, 2)
    products = torch.baddbmm(flat.square().sum(2)[:, None], points, flat.transpose(1, 2), alpha=-2)
    return products.unflatten(2, centroids.shape[1:3])


def _starts(
    inside: Bool[Tensor, "set point"], k: int, seeds: list[list[int]], restarts: int
) -> Int[Tensor, "set restart centroid"]:
    """For each start, `k` different counting points of every set."""
    draws = []
    for mask, seed in zip(inside.numpy(), seeds, strict=True):
        generator, places = np.random.default_rng(seed), np.flatnonzero(mask)
        draws.append([generator.choice(places, size=k, replace=False) for _ in range(restarts)])
    return torch.from_numpy(np.array(draws))
