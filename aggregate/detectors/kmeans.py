"""k-means, seeded: Lloyd's steps for many points, and for many small sets of points side by side."""

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

BLOCK = 16_384
"""Points in one product."""


def kmeans(
    points: Float[Tensor, "point dim"], k: int, seed: int, iterations: int = 10
) -> Float[Tensor, "centroid dim"]:
    """Centroids after a fixed number of Lloyd's steps from `k` different points drawn at random.

    A centroid without points stays where it is.
    """
    k = min(k, len(points))
    start = np.random.default_rng(seed).choice(len(points), size=k, replace=False)
    centroids = points[torch.from_numpy(np.sort(start))]
    for _ in range(iterations):
        sums, counts = torch.zeros_like(centroids), centroids.new_zeros(k)
        for part in points.split(BLOCK):
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
        iterations: Lloyd's steps.
    """
    best = points.new_zeros((len(points), k, points.shape[2]))
    least = points.new_full((len(points),), torch.inf)
    draws = _starts(inside, k, seeds, restarts)
    rows = torch.arange(len(points))[:, None]
    for start in draws:
        centroids = points[rows, start]
        for _ in range(iterations):
            centroids = _step(points, inside, centroids)
        distance = torch.cdist(points, centroids).square().amin(2)
        inertia = torch.where(inside, distance, 0.0).sum(1)
        better = inertia < least
        least = torch.where(better, inertia, least)
        best = torch.where(better[:, None, None], centroids, best)
    return best


def _starts(inside: Bool[Tensor, "set point"], k: int, seeds: list[list[int]], restarts: int) -> list[Tensor]:
    """For each start, `k` different counting points of every set."""
    draws = []
    for mask, seed in zip(inside.numpy(), seeds, strict=True):
        generator, places = np.random.default_rng(seed), np.flatnonzero(mask)
        draws.append([generator.choice(places, size=k, replace=False) for _ in range(restarts)])
    return list(torch.from_numpy(np.array(draws)).unbind(1))


def _step(
    points: Float[Tensor, "set point dim"],
    inside: Bool[Tensor, "set point"],
    centroids: Float[Tensor, "set centroid dim"],
) -> Float[Tensor, "set centroid dim"]:
    """One of Lloyd's steps; a centroid without points stays where it is."""
    products = torch.baddbmm(centroids.square().sum(2)[:, None], points, centroids.transpose(1, 2), alpha=-2)
    member = torch.nn.functional.one_hot(products.argmin(2), centroids.shape[1]).to(points)
    member = member * inside[..., None]
    counts = member.sum(1)[..., None]
    return torch.where(counts > 0, member.transpose(1, 2) @ points / counts.clamp_min(1), centroids)
