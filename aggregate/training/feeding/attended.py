"""Attention on its way from the pools to the losses, for terms that act on it."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import pad

from aggregate.losses.base import Attention
from cache_schema.common.errors import ConfigError

Slices = tuple[Bool[Tensor, "run bag slice"], Float[Tensor, "run bag slice"]]
"""Which are real, and their heights in mm."""


def require_learned(head: str, attention: Float[Tensor, "run bag slice"] | None) -> int:
    """The runs of an attention that training can change.

    Raises:
        ConfigError: If the head gives none such.
    """
    if attention is None or not attention.requires_grad:
        raise ConfigError(
            f"loss: a term acts on the attention, but the head {head!r} gives none that training could "
            "change; return the weights that it pools with, with their gradient, or set that weight to 0"
        )
    return len(attention)


def joined_attention(found: Sequence[tuple[Tensor | None, Tensor, Tensor]]) -> Attention | None:
    """Attention, keep and heights of neighbouring runs, as far as the longest bag of all of them reaches.

    The weights are a leaf, whose gradient goes back to the pools.
    """
    if not found:
        return None
    longest = max(keep.shape[-1] for _, keep, _ in found)
    weights, keep, height_mm = (
        torch.cat([pad(part.detach(), (0, longest - part.shape[-1])) for part in parts if part is not None])
        for parts in zip(*found, strict=True)
    )
    return Attention(weights.requires_grad_(), keep, height_mm)
