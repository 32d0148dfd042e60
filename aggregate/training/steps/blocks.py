"""Which runs train together: those of one head, batch size, start, optimiser and stop, within a bound."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import torch

from aggregate.heads.base import Head
from aggregate.training.feeding.streams import order_of, steps_of
from aggregate.training.runs import RunSpec

BLOCK_BYTES = 256 * 2**20
"""Bound on what a block keeps in memory while it trains. Measured: see `benchmarks/README.md`."""
SHARE = 0.5
"""Of a GPU's free memory that a block may plan with instead."""

COPIES = 5
"""Of every weight: itself, its gradient, two moments, and the best epoch's."""


@dataclass(frozen=True, slots=True)
class Group:
    """Runs whose tensors can be stacked, as indices; runs that share batches stand side by side."""

    members: tuple[int, ...]
    first: RunSpec
    """Any of them, for what they have in common."""

    def blocks(self, run_bytes: int, workers: int, bound: int | None = None) -> list[tuple[int, ...]]:
        """The members in equal portions of bounded memory, as many as keep all workers busy.

        Most steps per epoch first. The bound is `BLOCK_BYTES` where none is given.
        """
        n = len(self.members)
        portions = -(-n // max(1, (bound or BLOCK_BYTES) // run_bytes))
        portions = min(n, -(-portions // workers) * workers)
        cuts = [round(n * portion / portions) for portion in range(portions + 1)]
        return [self.members[start:end] for start, end in itertools.pairwise(cuts)]


def bound_on(device: torch.device) -> int:
    """Bytes that a block may keep: on a GPU many, where one large step takes the time of a small one."""
    if device.type != "cuda":
        return BLOCK_BYTES
    free, _ = torch.cuda.mem_get_info(device)
    return max(BLOCK_BYTES, int(SHARE * free))


def group_runs(runs: Sequence[RunSpec]) -> list[Group]:
    """Sort runs by what their tensors look like, then by their order of bags."""
    found: dict[tuple[object, ...], list[int]] = {}
    for index, run in enumerate(runs):
        own, where = run.training, (run.train.product, run.train.device)
        how = (own.batch_size, own.starts_at_baseline, own.optimiser, own.watch, *where)
        key = (run.head.model_dump_json(), *how)
        found.setdefault(key, []).append(index)
    for members in found.values():
        members.sort(key=lambda index: (-steps_of(runs[index]), order_of(runs[index])))
    return [Group(tuple(members), runs[members[0]]) for members in found.values()]


PAIRS = 12
"""Numbers that a loss on embeddings keeps of every pair of bags. Measured: supcon 12, triplet 9."""


def bytes_of_run(head: Head, batch_size: int, slices: int, itemsize: int, pairs: bool = False) -> int:
    """What one run keeps while it trains.

    Copies of its weights, what its pool remembers of a batch, and of a loss that compares bags (`pairs`) a
    number for each two of them: a batch may be a whole training part.
    """
    weights = sum(prod(shape) for shape in head.shapes.values())
    kept = COPIES * weights + batch_size * slices * head.slice_width
    return itemsize * (kept + (PAIRS * batch_size**2 if pairs else 0))
