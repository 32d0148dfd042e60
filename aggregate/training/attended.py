"""Attention on its way from the pools to the losses, for terms that act on it."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import pad

from aggregate.losses.base import Attention
from cache_schema.common.errors import ConfigError


def learned_attention(
    head: str,
    weights: Float[Tensor, "run bag slice"] | None,
    keep: Bool[Tensor, "stream bag slice"],
    height_mm: Float[Tensor, "stream bag slice"],
) -> Attention:
    """Attention of runs with what their bags are, each of as many neighbouring runs.

    Raises:
        ConfigError: If the head gives none, or none that training could change.
    """
    if weights is None or not weights.requires_grad:
        raise ConfigError(
            f"loss: a term acts on the attention, but the head {head!r} gives none that training could "
            "change; return the weights that it pools with, with their gradient, or set that weight to 0"
        )
    runs = len(weights) // len(keep)
    return Attention(weights, keep.repeat_interleave(runs, 0), height_mm.repeat_interleave(runs, 0))


def joined_attention(found: Sequence[Attention]) -> Attention | None:
    """Of all runs, as far as the longest bag reaches; a leaf, whose gradient goes back to the pools."""
    if not found:
        return None
    longest = max(one.keep.shape[-1] for one in found)

    def joined(parts: Sequence[Tensor]) -> Tensor:
        return torch.cat([pad(part.detach(), (0, longest - part.shape[-1])) for part in parts])

    weights = joined([one.weights for one in found]).requires_grad_()
    return Attention(weights, joined([one.keep for one in found]), joined([one.height_mm for one in found]))
