"""Which patches count: by the first principal component of a slice's tokens, and what that does to scores."""

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import max_pool2d


def object_mask(
    patches: Float[Tensor, "slice row col dim"], threshold: float
) -> Bool[Tensor, "slice row col"]:
    """Where a token lies further than the threshold along the first principal component, either way.

    Then dilated and closed by 3 x 3 on the grid. Without a sign there is no test of the slice's centre.

    Args:
        patches: Tokens as stored; each slice has components of its own.
        threshold: In the tokens' own units.
    """
    tokens = patches.flatten(1, 2).double()
    away = tokens - tokens.mean(1, keepdim=True)
    scatter = away.transpose(1, 2) @ away
    first = torch.linalg.eigh(scatter).eigenvectors[:, :, -1]
    along = (away @ first[:, :, None]).view(patches.shape[:3])
    return eroded(dilated(dilated(along.abs() > threshold)))


def dilated(mask: Bool[Tensor, "slice row col"]) -> Bool[Tensor, "slice row col"]:
    """Whatever has a true patch within 3 x 3; outside is false."""
    return max_pool2d(mask.float()[:, None], 3, 1, 1)[:, 0] > 0


def eroded(mask: Bool[Tensor, "slice row col"]) -> Bool[Tensor, "slice row col"]:
    """Whatever has only true patches within 3 x 3; outside is true."""
    return ~dilated(~mask)


def counted_patches(
    kind: Literal["none", "foreground", "object"],
    patches: Float[Tensor, "slice row col dim"],
    foreground: Float[Tensor, "slice row col"],
    threshold: float,
) -> Bool[Tensor, "slice row col"] | None:
    """Which patches are fitted and scored; None for all.

    Args:
        kind: Every patch, those with foreground, or those of the object mask.
        patches: Tokens as stored.
        foreground: Share of each patch inside it.
        threshold: Of the object mask.
    """
    if kind == "none":
        return None
    return foreground > 0 if kind == "foreground" else object_mask(patches, threshold)


def lowest_outside(
    scores: Float[Tensor, "slice row col"], inside: Bool[Tensor, "slice row col"], lowest: float | None
) -> Float[Tensor, "slice row col"]:
    """Scores with `lowest`, or the lowest score inside the same slice, where patches do not count."""
    if lowest is not None:
        return torch.where(inside, scores, lowest)
    least = torch.where(inside, scores, torch.inf).amin((1, 2), keepdim=True)
    return torch.where(inside, scores, torch.where(least.isinf(), 0.0, least))


def mean_inside(
    values: Float[Tensor, "slice token"], inside: Bool[Tensor, "slice token"]
) -> Float[Tensor, " slice"]:
    """The mean of those that count; 0 where none does."""
    return torch.where(inside, values, 0.0).sum(1) / inside.sum(1).clamp_min(1)
