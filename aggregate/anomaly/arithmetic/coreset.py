"""Greedy k-centre coreset: each pick is the point farthest from all picks before it.

As in PatchCore, after Sener and Savarese (2018). The plain loop updates every point's distance for every
pick, which reads all points from memory each time. Here distances of points that are not among the
farthest wait: distances only shrink, so an old one is an upper bound, and a pick is right as long as it
beats all bounds. Waiting picks are then made good in one matrix product. The picks are the same.
"""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from cache_schema.common.terminal.progress import Progress

ACTIVE = 4096
"""Points whose distances are kept up to date between products."""
CORESET_BLOCK = 16_384
"""Points in one product."""
UPDATE = 10.0
"""How much longer a product of one pick with a point takes than one of many picks at once."""
TINY = 1e-12
"""A squared distance below this share of the largest squared length is 0: the point is picked already."""


def greedy_coreset(
    points: Float[Tensor, "point dim"], size: int, seed: int, progress: Progress | None = None
) -> Int[Tensor, " pick"]:
    """Choose up to `size` points; fewer when all that are left equal a chosen one.

    Args:
        points: To choose from.
        size: How many.
        seed: Of the first pick, which is drawn at random.
        progress: Told of the picks.

    Returns:
        Their places, in the order of picking; of equally far points the first is picked.
    """
    first = int(np.random.default_rng(seed).integers(len(points)))
    squares = points.square().sum(1)
    floor = float(TINY if points.dtype == torch.float64 else 1e-6) * float(squares.max())
    bound = torch.full((len(points),), torch.inf, dtype=points.dtype)
    picks, waiting = [first], [first]
    while len(picks) < size:
        _shrink(bound, points, squares, torch.tensor(waiting))
        bound[torch.tensor(picks)] = 0.0
        waiting = _pick_among_farthest(bound, points, squares, size - len(picks), floor)
        if not waiting:
            break
        picks += waiting
        if progress is not None:
            progress(len(picks), size)
    return torch.tensor(picks)


def coreset_work(points: int, size: int) -> float:
    """What `greedy_coreset` takes, in products of a point with one of many picks."""
    return float(size * (points + UPDATE * min(points, ACTIVE)))


def _pick_among_farthest(
    bound: Float[Tensor, " point"],
    points: Float[Tensor, "point dim"],
    squares: Float[Tensor, " point"],
    left: int,
    floor: float,
) -> list[int]:
    """Picks that are certain from the farthest points alone; none when every distance is 0."""
    if len(bound) > ACTIVE:
        least = float(bound.topk(ACTIVE).values[-1])
        active = (bound >= least).nonzero().squeeze(1)
        others = bound[bound < least]
        outside = float(others.max()) if len(others) else -torch.inf
    else:
        active, outside = torch.arange(len(bound)), -torch.inf
    here, own, distance = points[active], squares[active], bound[active]
    picks: list[int] = []
    while len(picks) < left:
        place = int(distance.argmax())
        value = float(distance[place])
        # A tie with a point outside is settled in the next round, by order.
        if value <= floor or (picks and value <= outside):
            break
        picks.append(int(active[place]))
        to_pick = own + own[place] - 2 * (here @ here[place])
        torch.minimum(distance, to_pick, out=distance)
        distance[place] = 0.0
    return picks


def _shrink(
    bound: Float[Tensor, " point"],
    points: Float[Tensor, "point dim"],
    squares: Float[Tensor, " point"],
    picks: Int[Tensor, " pick"],
) -> None:
    """Bring the squared distance of every point up to date with some picks."""
    for few in picks.split(2048):
        centres, own = points[few], squares[few]
        for start in range(0, len(points), CORESET_BLOCK):
            part = slice(start, start + CORESET_BLOCK)
            product = torch.addmm(own, points[part], centres.T, alpha=-2)
            bound[part] = torch.minimum(bound[part], product.amin(1) + squares[part])
