"""Bags whose tokens are multiplied and shifted, each bag in its own way; pads stay 0."""

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from aggregate.bags.bags import Bags
from aggregate.bags.lazy import LazyTokens, Shelf
from aggregate.common.arrays import Floats


def move_bags(bags: Bags, scale: Floats, shift: Floats) -> Bags:
    """The same bags with tokens `x * scale + shift`.

    Args:
        bags: All bags of a cohort, in memory or in the store.
        scale: Of every bag (bag, dim).
        shift: Likewise.
    """
    a, b = (torch.from_numpy(part).to(torch.float32) for part in (scale, shift))
    if isinstance(bags.x, LazyTokens):
        x = bags.x
        shelf = MovedShelf(x.shelf, a, b, bags.keep)
        return Bags(LazyTokens(shelf, np.arange(len(bags)), x.length, x.dtype), bags.keep, bags.height_mm)
    return Bags(moved(bags.x, a, b, bags.keep), bags.keep, bags.height_mm)


def moved(
    x: Float[Tensor, "bag slice dim"],
    scale: Float[Tensor, "bag dim"],
    shift: Float[Tensor, "bag dim"],
    keep: Bool[Tensor, "bag slice"],
) -> Float[Tensor, "bag slice dim"]:
    """Tokens of real slices moved."""
    found = torch.addcmul(shift[:, None].to(x.dtype), x, scale[:, None].to(x.dtype))
    return found.masked_fill_(~keep[:, :, None], 0)


class MovedShelf(Shelf):
    """Moves what another shelf reads; that one keeps what it may."""

    def __init__(
        self,
        shelf: Shelf,
        scale: Float[Tensor, "bag dim"],
        shift: Float[Tensor, "bag dim"],
        keep: Bool[Tensor, "bag slice"],
    ) -> None:
        """Arguments as of `moved`, of all bags of the shelf."""
        self.shelf, self.scale, self.shift, self.keep = shelf, scale, shift, keep
        self.dim = shelf.dim

    def gather(
        self, bags: NDArray[np.int64], length: int, dtype: torch.dtype
    ) -> Float[Tensor, "bag slice dim"]:
        """As the other shelf, moved."""
        rows = torch.from_numpy(np.asarray(bags))
        x = self.shelf.gather(bags, length, dtype)
        return moved(x, self.scale[rows], self.shift[rows], self.keep[rows, :length])
