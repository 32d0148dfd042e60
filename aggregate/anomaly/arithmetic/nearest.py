"""Exact nearest neighbours by blocks: a matrix product and a running maximum, in bounded memory."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

QUERIES = 2048
BANK = 4096
"""Queries and bank tokens whose products are in memory at once (32 MiB of float32)."""


@dataclass(frozen=True, slots=True)
class Nearest:
    """The nearest bank token of every query."""

    distance: Float[Tensor, " query"]
    index: Int[Tensor, " query"]


def largest_cosine(
    query: Float[Tensor, "query dim"], bank: Float[Tensor, "token dim"]
) -> Float[Tensor, " query"]:
    """The cosine to the most similar bank token; both sides have rows of length 1."""
    best = query.new_full((len(query),), -torch.inf)
    buffer = query.new_empty(min(QUERIES, len(query)) * min(BANK, len(bank)))
    for rows in _blocks(len(query), QUERIES):
        for tokens in _blocks(len(bank), BANK):
            part, other = query[rows], bank[tokens]
            product = buffer[: len(part) * len(other)].view(len(part), len(other))
            torch.mm(part, other.T, out=product)
            torch.maximum(best[rows], product.amax(1), out=best[rows])
    return best


def nearest_euclidean(query: Float[Tensor, "query dim"], bank: Float[Tensor, "token dim"]) -> Nearest:
    """The nearest bank token by Euclidean distance.

    The neighbour is found by `|b|^2 - 2 q.b`; its distance is then taken from the difference, since the
    product loses it where two tokens nearly agree.
    """
    best = query.new_full((len(query),), torch.inf)
    index = torch.zeros(len(query), dtype=torch.long)
    squares = bank.square().sum(1)
    for rows in _blocks(len(query), QUERIES):
        for tokens in _blocks(len(bank), BANK):
            product = torch.addmm(squares[tokens], query[rows], bank[tokens].T, alpha=-2)
            values, places = product.min(1)
            nearer = values < best[rows]
            best[rows] = torch.where(nearer, values, best[rows])
            index[rows] = torch.where(nearer, places + tokens.start, index[rows])
    distance = torch.cat(
        [(query[rows] - bank[index[rows]]).square().sum(1) for rows in _blocks(len(query), QUERIES)]
    )
    return Nearest(distance.sqrt(), index)


def nearest_squares(
    query: Float[Tensor, "query dim"], bank: Float[Tensor, "token dim"], count: int
) -> Float[Tensor, "query near"]:
    """Squared Euclidean distances to the `count` nearest bank tokens, or to all where there are fewer.

    Found and worked out as `nearest_euclidean` does it.
    """
    count, squares, found = min(count, len(bank)), bank.square().sum(1), []
    for rows in _blocks(len(query), QUERIES):
        part = query[rows]
        values, index = part.new_empty(len(part), 0), torch.empty(len(part), 0, dtype=torch.long)
        for tokens in _blocks(len(bank), BANK):
            product = torch.addmm(squares[tokens], part, bank[tokens].T, alpha=-2)
            near = product.topk(min(count, product.shape[1]), dim=1, largest=False)
            values, index = (
                torch.cat([values, near.values], 1),
                torch.cat([index, near.indices + tokens.start], 1),
            )
            best = values.topk(min(count, values.shape[1]), dim=1, largest=False)
            values, index = best.values, index.gather(1, best.indices)
        found.append((part.unsqueeze(1) - bank[index]).square().sum(2))
    return torch.cat(found)


def _blocks(n: int, size: int) -> Iterator[slice]:
    """Stretches of at most `size`."""
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))
