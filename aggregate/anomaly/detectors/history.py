"""What each epoch of a fit gave, kept in the state, so that a fit gone on with draws one curve."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

NAME = "history"


class History:
    """Numbers by name, one per epoch; the mean over an epoch's batches is gathered on the way."""

    def __init__(self, *names: str) -> None:
        """Start from nothing; the first name is that of what is gathered."""
        self.names = names
        self.rows: list[list[float]] = []
        self._sum = self._weight = 0.0

    def gather(self, value: float, weight: float) -> None:
        """Add a batch's mean with its weight."""
        self._sum += value * weight
        self._weight += weight

    def end_epoch(self, *values: float | None) -> None:
        """Close an epoch; one that lacks a number, or has one that is not finite, leaves none."""
        mean = self._sum / self._weight if self._weight else None
        row = [value for value in (mean, *values) if value is not None and math.isfinite(value)]
        self._sum = self._weight = 0.0
        if len(row) == len(self.names):
            self.rows.append(row)

    def curves(self) -> dict[str, list[float]]:
        """By name: the epochs' numbers."""
        return {name: [row[place] for row in self.rows] for place, name in enumerate(self.names)}

    def state(self) -> dict[str, Tensor]:
        """One tensor, none before the first epoch."""
        return {NAME: torch.tensor(self.rows, dtype=torch.float64)} if self.rows else {}

    def shapes(self, state: Mapping[str, Tensor]) -> dict[str, tuple[int | None, ...]]:
        """Of what `state` gives; a state from before there were curves has none."""
        return {NAME: (None, len(self.names))} if NAME in state else {}

    def load(self, found: Mapping[str, Tensor]) -> None:
        """Go on from a state."""
        self.rows = [[float(value) for value in row] for row in found.get(NAME, ())]
