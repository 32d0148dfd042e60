"""Where a block's batches come from: the bags themselves, or their pooled vectors.

If training leaves the pool as it is (mean pooling, or the embedding trained alone), every bag is
pooled once and its slices are not touched again.
"""

from collections.abc import Mapping
from typing import Protocol, Self, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from aggregate.bags.lazy import Tokens
from aggregate.heads.base import Head

POOL_BATCH = 64
"""Bags pooled at once."""


@runtime_checkable
class Inputs(Protocol):
    """Gathers each run's own batch and applies the head to it."""

    def forward(
        self, head: Head, parameters: Mapping[str, Tensor], rows: Int[Tensor, "run batch"]
    ) -> tuple[Float[Tensor, "run batch class"], Float[Tensor, "run batch feature"]]:
        """Logits and embedding of the first runs on these rows."""
        ...

    def select(self, index: Int[Tensor, " run"]) -> "Inputs":
        """Keep the runs at `index`."""
        ...


class BagInputs:
    """Bags that every run pools with its own weights."""

    def __init__(
        self,
        x: Tokens,
        keep: Bool[Tensor, "bag slice"],
        height_mm: Float[Tensor, "bag slice"],
    ) -> None:
        """Hold the bags of the cohort."""
        self.x, self.keep, self.height_mm = x.contiguous(), keep, height_mm

    def forward(
        self, head: Head, parameters: Mapping[str, Tensor], rows: Int[Tensor, "run batch"]
    ) -> tuple[Float[Tensor, "run batch class"], Float[Tensor, "run batch feature"]]:
        """Gather, pool, embed, classify."""
        flat, shape = rows.flatten(), rows.shape
        x = self.x.index_select(0, flat).view(*shape, *self.x.shape[1:])
        keep = self.keep.index_select(0, flat).view(*shape, -1)
        height_mm = self.height_mm.index_select(0, flat).view(*shape, -1)
        pooled, _ = head.pool(parameters, x, keep, height_mm)
        return head.read_out(parameters, pooled)

    def select(self, index: Int[Tensor, " run"]) -> Self:
        """All runs share the bags."""
        return self


class PooledInputs:
    """Vectors that were pooled once, for all runs (1, bag, dim) or for each (run, bag, dim)."""

    def __init__(self, pooled: Float[Tensor, "run bag dim"]) -> None:
        """Hold the pooled vectors of the cohort."""
        self.pooled = pooled

    def forward(
        self, head: Head, parameters: Mapping[str, Tensor], rows: Int[Tensor, "run batch"]
    ) -> tuple[Float[Tensor, "run batch class"], Float[Tensor, "run batch feature"]]:
        """Gather, embed, classify."""
        run = torch.arange(len(rows)).clamp_max(len(self.pooled) - 1).unsqueeze(1)
        return head.read_out(parameters, self.pooled[run, rows])

    def select(self, index: Int[Tensor, " run"]) -> Inputs:
        """Keep those runs' vectors."""
        return self if len(self.pooled) == 1 else PooledInputs(self.pooled[index])


@torch.no_grad()
def make_inputs(
    head: Head,
    parameters: Mapping[str, Tensor],
    x: Tokens,
    keep: Bool[Tensor, "bag slice"],
    height_mm: Float[Tensor, "bag slice"],
) -> Inputs:
    """Pool now what training will not change."""
    if not head.pool_is_fixed:
        return BagInputs(x, keep, height_mm)
    runs = len(next(iter(parameters.values()))) if head.pool_shapes() else 1
    pooled = torch.empty((runs, len(x), head.dim), dtype=x.dtype)
    # Filled in place: small results between large blocks would keep the allocator from giving those back.
    for part in (slice(start, start + POOL_BATCH) for start in range(0, len(x), POOL_BATCH)):
        block = x[part].unsqueeze(0)
        pooled[:, part] = head.pool(parameters, block, keep[None, part], height_mm[None, part])[0]
    return PooledInputs(pooled)
