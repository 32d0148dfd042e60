"""Runs that see the same bags in the same order stand together, and share what depends on bags alone.

A grid over losses has few orders and many runs: the slices of a batch are gathered and multiplied once
for all runs of its order.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aggregate.training.feeding.sampler import (
    MOST_DRAWN,
    balanced_batches,
    drawn_batches,
    n_steps,
    order_stream,
    plain_batches,
)
from aggregate.training.runs import RunSpec


@dataclass(frozen=True, slots=True)
class Stream:
    """Runs of one order, as places in their block."""

    runs: slice
    first: RunSpec
    """Any of them says what the others see."""

    @property
    def steps(self) -> int:
        """Of one epoch."""
        return steps_of(self.first)

    def batches(self, y: NDArray[np.int64], epoch: int) -> NDArray[np.int64]:
        """Rows of one epoch's batches (step, batch_size), filled with `NO_ROW`."""
        run = self.first
        rows, size = run.train_rows, run.training.batch_size
        source = order_stream(run.seed, run.repeat, run.fold, epoch)
        if run.training.class_balanced == "drawn":
            return drawn_batches(rows, y[rows], size, source)
        if run.training.class_balanced:
            return balanced_batches(rows, y[rows], size, source)
        return plain_batches(rows, size, source)


def steps_of(run: RunSpec) -> int:
    """Steps of one epoch."""
    n = len(run.train_rows)
    drawn = run.training.class_balanced == "drawn"
    return n_steps(min(n, MOST_DRAWN) if drawn else n, run.training.batch_size)


Order = tuple[int, int, int, str, int, bytes, bytes]


def order_of(run: RunSpec) -> Order:
    """Equal for runs that see the same batches and validation bags."""
    rows = (run.train_rows.tobytes(), run.validation_rows.tobytes())
    return (run.repeat, run.fold, run.seed, str(run.training.class_balanced), run.training.batch_size, *rows)


def streams_of(runs: Sequence[RunSpec]) -> list[Stream]:
    """The streams of a block whose runs of one order stand side by side."""
    found: list[Stream] = []
    start, orders = 0, [order_of(run) for run in runs]
    for place in range(1, len(runs) + 1):
        if place == len(runs) or orders[place] != orders[start]:
            found.append(Stream(slice(start, place), runs[start]))
            start = place
    return found
