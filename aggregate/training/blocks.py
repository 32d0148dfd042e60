"""Which runs train together: those of one head, one batch size and one kind of start, within a bound."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from aggregate.heads.base import Head
from aggregate.training.runs import RunSpec
from aggregate.training.streams import order_of, steps_of

BLOCK_BYTES = 256 * 2**20
"""Bound on what a block keeps in memory while it trains. Measured: see `benchmarks/README.md`."""

COPIES = 5
"""Of every weight: itself, its gradient, two moments, and the best epoch's."""


@dataclass(frozen=True, slots=True)
class Group:
    """Runs whose tensors can be stacked, as indices; runs that share batches stand side by side."""

    members: tuple[int, ...]
    first: RunSpec
    """Any of them, for what they have in common."""

    def blocks(self, run_bytes: int, workers: int) -> list[tuple[int, ...]]:
        """The members in equal portions of bounded memory, as many as keep all workers busy.

        Most steps per epoch first.
        """
        n = len(self.members)
        portions = -(-n // max(1, BLOCK_BYTES // run_bytes))
        portions = min(n, -(-portions // workers) * workers)
        cuts = [round(n * portion / portions) for portion in range(portions + 1)]
        return [self.members[start:end] for start, end in itertools.pairwise(cuts)]


def group_runs(runs: Sequence[RunSpec]) -> list[Group]:
    """Sort runs by what their tensors look like, then by their order of bags."""
    found: dict[tuple[str, int, bool], list[int]] = {}
    for index, run in enumerate(runs):
        key = (run.head.model_dump_json(), run.training.batch_size, run.training.starts_at_baseline)
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
