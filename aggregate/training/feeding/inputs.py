"""Where a block's batches come from: the bags themselves, or their pooled vectors.

If training leaves the pool as it is (mean pooling, or the embedding trained alone), every bag is
pooled once and its slices are not touched again.
"""

from collections.abc import Mapping
from typing import Protocol, Self, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from aggregate.bags.lazy import LazyTokens, TokenArray
from aggregate.heads.base import Head

POOL_BATCH = 64
"""Bags pooled at once."""

Span = slice
"""Runs of a block that stand side by side."""


@runtime_checkable
class Inputs(Protocol):
    """Gives the pooled vectors of a batch that some runs share."""

    @property
    def device(self) -> torch.device:
        """Where the bags are."""
        ...

    def pooled(
        self, head: Head, parameters: Mapping[str, Tensor], runs: Span, rows: Int[Tensor, " batch"]
    ) -> Float[Tensor, "#run batch pooled"]:
        """Pooled vectors of these runs, whose parameters are given, on these bags."""
        ...

    def select(self, index: Int[Tensor, " run"]) -> "Inputs":
        """Keep the runs at `index`."""
        ...


class BagInputs:
    """Bags that every run pools with its own weights."""

    def __init__(
        self,
        x: TokenArray,
        keep: Bool[Tensor, "bag slice"],
        height_mm: Float[Tensor, "bag slice"],
    ) -> None:
        """Hold the bags of the cohort, their tokens as `prepare_tokens` gave them.

        TokenArray that stay in the store are prepared by batch.
        """
        self.x, self.keep, self.height_mm = x.contiguous(), keep, height_mm
        self.lengths = keep.shape[1] - keep.flip(1).int().argmax(1)

    @property
    def device(self) -> torch.device:
        """Of the bags."""
        return self.keep.device

    def pooled(
        self, head: Head, parameters: Mapping[str, Tensor], runs: Span, rows: Int[Tensor, " batch"]
    ) -> Float[Tensor, "#run batch pooled"]:
        """Gather and pool, as far as the longest bag of the batch reaches."""
        return head.pool(parameters, *self.gathered(head, rows))[0]

    def gathered(self, head: Head, rows: Int[Tensor, " batch"]) -> tuple[Tensor, Tensor, Tensor]:
        """Prepared tokens (batch, slice, dim), keep and heights of these bags."""
        length = int(self.lengths[rows].max())
        x = self.x.index_select(0, rows)[:, :length]
        keep, height_mm = self.keep[rows, :length], self.height_mm[rows, :length]
        if isinstance(self.x, LazyTokens):
            x = head.prepare(x, keep, height_mm)
        return x, keep, height_mm

    def select(self, index: Int[Tensor, " run"]) -> Self:
        """All runs share the bags."""
        return self


class PooledInputs:
    """Vectors that were pooled once, for all runs (1, bag, pooled) or for each (run, bag, pooled)."""

    def __init__(self, vectors: Float[Tensor, "run bag pooled"]) -> None:
        """Hold the pooled vectors of the cohort."""
        self.vectors = vectors

    @property
    def device(self) -> torch.device:
        """Of the vectors."""
        return self.vectors.device

    def pooled(
        self, head: Head, parameters: Mapping[str, Tensor], runs: Span, rows: Int[Tensor, " batch"]
    ) -> Float[Tensor, "#run batch pooled"]:
        """Look the vectors up."""
        return (self.vectors if len(self.vectors) == 1 else self.vectors[runs])[:, rows]

    def select(self, index: Int[Tensor, " run"]) -> "PooledInputs":
        """Keep those runs' vectors."""
        return self if len(self.vectors) == 1 else PooledInputs(self.vectors[index])


@torch.no_grad()
def prepare_tokens(
    head: Head,
    x: TokenArray,
    keep: Bool[Tensor, "bag slice"],
    height_mm: Float[Tensor, "bag slice"],
) -> TokenArray:
    """The tokens as the pool reads them, done once; tokens that stay in the store are prepared by batch."""
    return x if isinstance(x, LazyTokens) else head.prepare(x, keep, height_mm)


@torch.no_grad()
def make_inputs(
    head: Head,
    parameters: Mapping[str, Tensor],
    x: TokenArray,
    keep: Bool[Tensor, "bag slice"],
    height_mm: Float[Tensor, "bag slice"],
) -> Inputs:
    """Pool now what training will not change.

    Args:
        head: The head of all runs.
        parameters: Of all runs, as they start.
        x: TokenArray of the cohort, as `prepare_tokens` gave them.
        keep: True on real slices.
        height_mm: Of the slices.
    """
    if not head.pool_is_fixed:
        return BagInputs(x, keep, height_mm)
    runs = len(next(iter(parameters.values()))) if head.pool_differs else 1
    vectors = parameters["classifier.weight"].new_empty((runs, len(x), head.pooled_dim))
    # Filled in place: small results between large blocks would keep the allocator from giving those back.
    for part in (slice(start, start + POOL_BATCH) for start in range(0, len(x), POOL_BATCH)):
        block, rows = x[part], (keep[part], height_mm[part])
        if isinstance(x, LazyTokens):
            block = head.prepare(block, *rows)
        vectors[:, part] = head.pool(parameters, block, *rows)[0]
    return PooledInputs(vectors)
