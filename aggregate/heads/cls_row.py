"""The CLS token's row of one self-attention layer, folded onto slices that all runs share.

Only the CLS token's output is used, and its query q is the same for every bag. So a head's score of a
slice is `q . Wk (g n + b) = u . n + constant` with `u = g Wk^T q`: attention pooling of the
standardised slices n by one vector per head. The constant, and with it the key's bias, is the same for
all tokens and drops out of the softmax, but for rotary positions, which turn keys and not values.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from aggregate.heads.norm import EPSILON
from aggregate.heads.products import project, weigh
from aggregate.heads.score_pool import ScorePool


@dataclass(frozen=True, slots=True)
class ClsRow:
    """What the CLS token's query finds in every bag."""

    vectors: Float[Tensor, "run head bag dim"]
    """Means of the standardised slices by `attention`."""
    attention: Float[Tensor, "run head bag slice"]
    """Over slices alone, the CLS token left out."""
    log_sum: Float[Tensor, "run head bag"]
    """Log sum exp of the slices' scores, which is what the CLS token's own score competes with."""


def plain_row(
    keys: Float[Tensor, "run head dim"], x: Float[Tensor, "bag slice dim"], keep: Bool[Tensor, "bag slice"]
) -> ClsRow:
    """Slices that are standardised already: `keys` are u."""
    found = ScorePool.apply(keys.flatten(0, 1), x, keep)
    return ClsRow(*(part.unflatten(0, keys.shape[:2]) for part in found))


def learned_row(
    keys: Float[Tensor, "run head dim"],
    positions: Float[Tensor, "run slice dim"],
    x: Float[Tensor, "bag slice dim"],
    keep: Bool[Tensor, "bag slice"],
) -> ClsRow:
    """Slices x with the mean over their numbers taken out, to which each run adds its own positions E.

    `n = (x + E) r` with `r = 1 / sqrt(|x + E|^2 / d + eps)`; as the square is |x|^2 + 2 x.E + |E|^2, no
    run ever forms its own x + E.
    """
    shape, dim = keys.shape[:2], keys.shape[2]
    own = positions - positions.mean(-1, keepdim=True)
    across = torch.bmm(x.transpose(0, 1), own.permute(1, 2, 0)).permute(2, 1, 0)
    length = x.square().sum(-1) + 2 * across + own.square().sum(-1).unsqueeze(1)
    r = (length.clamp_min(0) / dim + EPSILON).rsqrt().unsqueeze(1)
    scores = project(keys, x).view(*shape, *keep.shape) + torch.bmm(keys, own.transpose(1, 2)).unsqueeze(2)
    attention, log_sum = _softmax(scores * r, keep)
    shares = attention * r
    vectors = weigh(shares.flatten(0, 1), x).unflatten(0, shape)
    added = torch.bmm(shares.flatten(1, 2), own).unflatten(1, (shape[1], -1))
    return ClsRow(vectors + added, attention, log_sum)


def rotary_row(
    keys: Float[Tensor, "run head slice dim"],
    constant: Float[Tensor, "run head slice"],
    x: Float[Tensor, "bag slice dim"],
    keep: Bool[Tensor, "bag slice"],
) -> ClsRow:
    """Standardised slices; u and its constant depend on a slice's index, but not on the bag."""
    by_slice = keys.permute(2, 3, 0, 1).flatten(2)
    products = torch.bmm(x.transpose(0, 1), by_slice).permute(2, 1, 0)
    scores = products.unflatten(0, keys.shape[:2]) + constant.unsqueeze(2)
    attention, log_sum = _softmax(scores, keep)
    return ClsRow(weigh(attention.flatten(0, 1), x).unflatten(0, keys.shape[:2]), attention, log_sum)


def own_row(
    keys: Float[Tensor, "run head #slice dim"],
    constant: Float[Tensor, "run head #slice"],
    x: Float[Tensor, "run bag slice dim"],
    keep: Bool[Tensor, "bag slice"],
) -> ClsRow:
    """Standardised slices of each run's own; u and its constant depend on a slice's index or not at all."""
    keys, constant = keys.expand(-1, -1, x.shape[2], -1), constant.expand(-1, -1, x.shape[2])
    scores = torch.einsum("rhsd,rbsd->rhbs", keys, x) + constant.unsqueeze(2)
    attention, log_sum = _softmax(scores, keep)
    return ClsRow(torch.einsum("rhbs,rbsd->rhbd", attention, x), attention, log_sum)


def _softmax(
    scores: Float[Tensor, "run head bag slice"], keep: Bool[Tensor, "bag slice"]
) -> tuple[Float[Tensor, "run head bag slice"], Float[Tensor, "run head bag"]]:
    """Over kept slices, and the log of what it divides by."""
    scores = scores.masked_fill(~keep, -torch.inf)
    return scores.softmax(-1), scores.logsumexp(-1)
