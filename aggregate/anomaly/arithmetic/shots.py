"""A few slices, or all slices of a few volumes, chosen by seed from a stream: few-shot reference groups.

Which volumes are taken follows from the seed and the volumes alone; which slices also from the order in
which they go by.
"""

from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from aggregate.anomaly.arithmetic.reservoir import Reservoir

Unit = Literal["slices", "volumes"]


class Shots:
    """Admitted tokens and heights of `size` slices or volumes."""

    def __init__(self, size: int, unit: Unit, seed: int) -> None:
        """Start empty."""
        self.size, self.unit, self.seed = size, unit, seed
        self._slices = Reservoir(size, seed)
        self._drawn: dict[int, float] = {}
        """By volume that is kept so far: the smallest draws stay."""
        self._volumes: dict[int, list[tuple[Tensor, Tensor]]] = {}

    def add(
        self,
        patches: Float[Tensor, "slice row col dim"],
        admitted: Bool[Tensor, "slice row col"],
        height_mm: Float[Tensor, " slice"],
        volume: Int[Tensor, " slice"],
    ) -> None:
        """Take in slices; `volume` says which volume each is of."""
        if self.unit == "slices":
            self._slices.add(patches, admitted, height_mm)
            return
        for number in volume.unique().tolist():
            own = volume == number
            if self._wants(number):
                self._volumes[number].append(_tokens(patches[own], admitted[own], height_mm[own]))

    def _wants(self, number: int) -> bool:
        """Whether a volume is among those with the smallest draws; whoever is not any more goes."""
        if number in self._drawn:
            return True
        drawn = float(np.random.default_rng([self.seed, number]).random())
        if len(self._drawn) >= self.size:
            last = max(self._drawn, key=lambda name: self._drawn[name])
            if drawn > self._drawn[last]:
                return False
            del self._drawn[last], self._volumes[last]
        self._drawn[number], self._volumes[number] = drawn, []
        return True

    def rows(self) -> tuple[Tensor, Tensor]:
        """Tokens (token, dim) and their heights (token,), volume by volume."""
        if self.unit == "slices":
            return _tokens(*self._slices.rows())
        parts = [part for number in sorted(self._volumes) for part in self._volumes[number]]
        return torch.cat([tokens for tokens, _ in parts]), torch.cat([heights for _, heights in parts])


def _tokens(patches: Tensor, admitted: Tensor, height_mm: Tensor) -> tuple[Tensor, Tensor]:
    """Those that are admitted, with the heights of their slices."""
    heights = height_mm[:, None, None].expand(admitted.shape)
    return patches[admitted], heights[admitted]
