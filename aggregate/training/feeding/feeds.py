"""What neighbouring runs of a block are fed in a step: the batch of their stream, or bags that folds share.

A run whose batch is its whole training part sees the same bags in every step, and the folds of a cohort have
most of them in common. Such runs pool the union of their bags together, each with its own weights, and what
is not in a run's training part has no weight in its loss: one large product in place of many small ones, at
the price of the bags that a run would not have needed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import torch
from jaxtyping import Int
from numpy.typing import NDArray
from torch import Tensor

from aggregate.training.feeding.sampler import NO_ROW, BagRows
from aggregate.training.feeding.streams import Stream, streams_of
from aggregate.training.runs import RunSpec

UNION = 1.6
"""How many times the bags of its smallest run a union may hold. Measured: see `benchmarks/README.md`."""


@dataclass(frozen=True, slots=True)
class Feed:
    """Runs that pool a batch together, as places in their block."""

    runs: slice
    steps: int
    """Of one epoch."""
    stream: Stream
    """Of all these runs, or of the first of them."""
    shared: BagRows | None = None
    """The union's bags for every run, `NO_ROW` where a bag is not the run's (run, bag)."""

    @property
    def n_runs(self) -> int:
        """How many pool together."""
        return self.runs.stop - self.runs.start

    def batches(self, y: NDArray[np.int64], epoch: int) -> Int[Tensor, "step run bag"]:
        """Rows of one epoch's batches, filled with `NO_ROW`."""
        if self.shared is not None:
            return torch.from_numpy(self.shared).unsqueeze(0)
        return torch.from_numpy(self.stream.batches(y, epoch)).unsqueeze(1)


def feeds_of(runs: Sequence[RunSpec], join: bool = True) -> list[Feed]:
    """The feeds of a block whose runs of one order stand side by side; `join` if folds may share bags."""
    feeds: list[Feed] = []
    together: list[Stream] = []
    for stream in streams_of(runs):
        if join and takes_all(stream) and fits([*together, stream]):
            together.append(stream)
            continue
        feeds += joined(together)
        together = [stream]
    return feeds + joined(together)


def takes_all(stream: Stream) -> bool:
    """Whether every step takes the whole training part, each bag once."""
    return stream.steps == 1 and not stream.first.training.class_balanced


def fits(streams: Sequence[Stream]) -> bool:
    """Whether the union of their bags is worth its size."""
    if not all(map(takes_all, streams)):
        return False
    parts = [stream.first.train_rows for stream in streams]
    return len(reduce(np.union1d, parts)) <= UNION * min(map(len, parts))


def joined(streams: Sequence[Stream]) -> list[Feed]:
    """One feed for all of them, if there is any."""
    if not streams:
        return []
    first = streams[0]
    if len(streams) == 1:
        return [Feed(first.runs, first.steps, first)]
    union = reduce(np.union1d, [stream.first.train_rows for stream in streams])
    members = np.concatenate(
        [
            np.tile(np.isin(union, stream.first.train_rows), (stream.runs.stop - stream.runs.start, 1))
            for stream in streams
        ]
    )
    shared = np.where(members, union, NO_ROW)
    return [Feed(slice(first.runs.start, streams[-1].runs.stop), 1, first, shared)]


def as_wide(rows: Sequence[Int[Tensor, "#run bag"]]) -> list[Int[Tensor, "#run bag"]]:
    """The batches of a step with as many places as the widest of them has."""
    widest = max(part.shape[1] for part in rows)
    return [torch.nn.functional.pad(part, (0, widest - part.shape[1]), value=NO_ROW) for part in rows]
