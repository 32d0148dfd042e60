"""Train many runs at once along a leading run axis, each giving what it would have given alone.

Runs of one head spec and one batch size form blocks. Within a block the runs stand in order of their
steps per epoch, so that the runs that still have a batch are always the first n: a run with a smaller
fold idles at no cost. A run that has stopped is taken out of the tensors after the epoch.
"""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from aggregate.bags.bags import Bags
from aggregate.heads.base import Head, HeadOutput, require_slices
from aggregate.heads.centring import fit_centring
from aggregate.training.block import Block, Count, Finished, Progress
from aggregate.training.inputs import make_inputs
from aggregate.training.runs import RunSpec, TrainedRun, check_run
from aggregate.training.sampler import init_seed
from aggregate.training.streams import order_of, steps_of

__all__ = ["RunSpec", "TrainedRun", "apply_head", "train_stacked"]

BLOCK_BYTES = 256 * 2**20
"""Bound on what one training step of a block keeps in memory."""


def train_stacked(
    bags: Bags,
    y: Int[Tensor, " bag"],
    weight: Float[Tensor, " bag"],
    n_classes: int,
    runs: Sequence[RunSpec],
    dtype: torch.dtype = torch.float32,
    progress: Progress | None = None,
    finished: Finished | None = None,
) -> list[TrainedRun]:
    """Train every run and return them in the order given.

    Args:
        bags: All bags that the runs' rows point into.
        y: Label of every bag, 0 to n_classes - 1.
        weight: Weight of every bag in the cross entropy of training (validation is not weighted).
        n_classes: Number of labels.
        runs: What to train.
        dtype: Of weights and arithmetic.
        progress: Called with (run-epochs done, run-epochs at most) after every epoch.
        finished: Called with every run as soon as it is trained.

    Raises:
        ConfigError: If a run's loss cannot train its head.
        SlicecacheError: If a bag has no kept slice, or a run no bag or an unlabelled one.
    """
    require_slices(bags.keep)
    for run in runs:
        check_run(run, y.numpy(), n_classes)
    report = Count(progress, sum(run.train.epochs for run in runs))
    x, height_mm = bags.x.to(dtype), bags.height_mm.to(dtype)
    trained: dict[int, TrainedRun] = {}
    for members in blocks(runs, x.shape[1] * x.shape[2] * dtype.itemsize):
        head = runs[members[0]].head.build(x.shape[2], n_classes)
        seeds = [init_seed(runs[i].seed, runs[i].repeat, runs[i].fold) for i in members]
        parameters = head.init(seeds, dtype)
        if head.spec.centre:
            parameters |= fit_centring(x, bags.keep, [runs[i].train_rows for i in members], dtype)
        inputs = make_inputs(head, parameters, x, bags.keep, height_mm)
        block = Block(head, parameters, inputs, y, weight.to(dtype), [runs[i] for i in members])
        trained |= dict(zip(members, block.train(report, finished), strict=True))
    return [trained[index] for index in range(len(runs))]


def blocks(runs: Sequence[RunSpec], bag_bytes: int) -> list[list[int]]:
    """Indices of runs that train together, most steps per epoch first."""
    groups: dict[tuple[str, int], list[int]] = {}
    for index, run in enumerate(runs):
        groups.setdefault((run.head.model_dump_json(), run.train.batch_size), []).append(index)
    found = []
    for (_, batch_size), members in groups.items():
        members.sort(key=lambda index: (-steps_of(runs[index]), order_of(runs[index])))
        size = max(1, BLOCK_BYTES // (2 * batch_size * bag_bytes))
        found += [members[start : start + size] for start in range(0, len(members), size)]
    return found


@torch.no_grad()
def apply_head(
    head: Head, states: Sequence[Mapping[str, Tensor]], bags: Bags, batch: int = 256
) -> HeadOutput:
    """Apply several runs' weights to the same bags, some bags at a time, without gradients.

    Raises:
        SlicecacheError: If a bag has no kept slice.
    """
    parameters = {name: torch.stack([state[name] for state in states]) for name in head.shapes}
    dtype = next(iter(parameters.values())).dtype
    outputs = [
        head(
            parameters,
            bags.x[part].to(dtype),
            bags.keep[part],
            bags.height_mm[part].to(dtype),
        )
        for part in (slice(start, start + batch) for start in range(0, max(1, len(bags.x)), batch))
    ]
    return HeadOutput(
        torch.cat([output.logits for output in outputs], 1),
        torch.cat([output.embedding for output in outputs], 1),
        torch.cat([output.attention for output in outputs], 1),
    )
