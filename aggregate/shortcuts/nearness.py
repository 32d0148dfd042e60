"""Vectors that lie nearer to each other than strangers do: a p for every nearest neighbour.

Within a small ball strangers lie as if strewn evenly in as many directions as their vectors really vary
in (`k`, far fewer than numbers). Then `(d1 / d5)^k`, of the distances to the first and the fifth neighbour,
is the least of four uniform numbers, so that `p = 1 - (1 - (d1 / d5)^k)^4`. `k` is read off the cohort: with
as much right the median of `(d2 / d4)^k` is a half (Facco et al., Scientific Reports 2017, have the first
two neighbours; the second and the fourth are not touched by pairs of copies). A `d5` above the cohort's
median counts as the median, or the few participants of a small site would look like copies to each other.
"""

from collections.abc import Sequence

import numpy as np

from aggregate.common.arrays import Floats, Ints
from aggregate.common.scaling import fit_scaling

NEIGHBOURS = 5
FEWEST = 8
"""Participants below which nothing can be said."""


def nearest_others(x: Floats, participants: Sequence[str]) -> tuple[Floats, Ints]:
    """The five nearest other participants of every row.

    Args:
        x: Rows (row, dim).
        participants: Of every row.

    Returns:
        Distances in standard deviations of the columns (row, 5), infinite where there are fewer, and the row
        of the first (row,), -1 where there is none.
    """
    from sklearn.neighbors import NearestNeighbors

    _, person, bags = np.unique(participants, return_inverse=True, return_counts=True)
    z = fit_scaling(x)(x).astype(np.float32)
    found, first = np.full((len(x), NEIGHBOURS), np.inf), np.full(len(x), -1, dtype=np.int64)
    wanted = min((NEIGHBOURS + 1) * int(bags.max()), len(x) - 1)
    if not z.shape[1] or not wanted:
        return found, first
    near, at = NearestNeighbors(n_neighbors=wanted, algorithm="brute").fit(z).kneighbors()
    for row, (distances, rows) in enumerate(zip(near, at, strict=True)):
        seen = {int(person[row])}
        for distance, other in zip(distances.tolist(), rows.tolist(), strict=True):
            if len(seen) <= NEIGHBOURS and int(person[other]) not in seen:
                found[row, len(seen) - 1] = distance
                first[row] = other if len(seen) == 1 else first[row]
                seen.add(int(person[other]))
    return found, first


def directions(distances: Floats) -> float:
    """In how many directions vectors vary, from the distances to five neighbours (row, 5)."""
    near, far = distances[:, 1], distances[:, 3]
    known = np.isfinite(far) & (near > 0)
    middle = float(np.median(near[known] / far[known])) if known.any() else 1.0
    return float(np.log(2) / -np.log(middle)) if 0 < middle < 1 else 0.0


def nearness_p(distances: Floats) -> Floats:
    """How rare so near a first neighbour is among strangers (row,); 1 where nothing can be said.

    Args:
        distances: To five neighbours, ascending (row, 5).
    """
    known = np.isfinite(distances).all(axis=1)
    p = np.ones(len(distances))
    if not known.any():
        return p
    last = np.minimum(distances[:, -1], np.median(distances[known, -1]))
    known &= last > 0
    share = np.minimum(distances[known, 0] / last[known], 1.0) ** directions(distances[known])
    p[known] = -np.expm1((NEIGHBOURS - 1) * np.log1p(-np.minimum(share, 1 - 1e-16)))
    return p
