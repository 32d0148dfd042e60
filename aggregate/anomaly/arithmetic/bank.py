"""Tokens to compare with, and how they come together: an even draw of all that goes by, or of a few shots."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from aggregate.anomaly.arithmetic.reservoir import Reservoir
from aggregate.anomaly.arithmetic.shots import Shots


class BankSample:
    """Tokens with the heights and volumes of their slices."""

    def __init__(self, dim: int, offered: int, most: int | None, seed: int, shots: Shots | None) -> None:
        """Start empty.

        Args:
            dim: Numbers in a token.
            offered: Tokens that go by at most.
            most: Tokens that stay; None keeps all.
            seed: Of the draw.
            shots: Takes the slices that it is of; None takes all.
        """
        self._dim, self._most, self._seed, self._shots = dim, most, seed, shots
        self._even = self._empty(offered)

    def _empty(self, offered: int) -> Reservoir:
        return Reservoir(max(1, offered if self._most is None else min(self._most, offered)), self._seed)

    def add(
        self,
        patches: Float[Tensor, "slice row col dim"],
        admitted: Bool[Tensor, "slice row col"],
        height_mm: Float[Tensor, " slice"],
        volume: Int[Tensor, " slice"],
    ) -> None:
        """Offer what is admitted of some slices."""
        if self._shots is not None:
            self._shots.add(patches, admitted, height_mm, volume)
            return
        heights, volumes = (each[:, None, None].expand(admitted.shape) for each in (height_mm, volume))
        self._even.add(patches[admitted], heights[admitted], volumes[admitted])

    def rows(
        self,
    ) -> tuple[Float[Tensor, "token dim"], Float[Tensor, " token"], Int[Tensor, " token"]]:
        """Tokens, heights, and numbers of volumes, which are 0 where there were shots."""
        if self._shots is not None:
            tokens, height = self._shots.rows()
            self._even = self._empty(len(tokens))
            self._even.add(tokens, height, torch.zeros(len(tokens), dtype=torch.long))
        if not len(self._even):
            return torch.empty(0, self._dim), torch.empty(0), torch.empty(0, dtype=torch.long)
        tokens, height, volume = self._even.rows()
        return tokens, height, volume


@dataclass(frozen=True, slots=True)
class Bank:
    """Tokens in the order of their heights."""

    tokens: Float[Tensor, "token dim"]
    height: Float[Tensor, " token"]
    """In mm below the vertex."""
    volume: Int[Tensor, " known"]
    """Numbers of their volumes; empty where nobody asks."""

    @classmethod
    def empty(cls, dim: int) -> "Bank":
        """A bank without tokens."""
        return cls(torch.empty(0, dim), torch.empty(0), torch.empty(0, dtype=torch.long))

    def near(self, height: float | None, window: float, but: int | None) -> Float[Tensor, "token dim"]:
        """Tokens to compare a slice with.

        Args:
            height: Of the slice: only tokens of about this height, if there are any; None takes all.
            window: In mm, above and below.
            but: Number of a volume whose tokens are left out.
        """
        about = slice(None)
        if height is not None:
            edges = torch.tensor([height - window, height + window])
            start = int(torch.searchsorted(self.height, edges[0]))
            about = slice(start, int(torch.searchsorted(self.height, edges[1], right=True)))
        found = self.tokens[about]
        if but is not None:
            found = found[self.volume[about] != but]
        return found if len(found) or height is None else self.near(None, window, but)
