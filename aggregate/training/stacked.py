"""Train many runs at once along a leading run axis, each giving what it would have given alone.

Runs of one head spec and one batch size form blocks (`blocks.py`). Within a block, runs that see the same
batches form streams (`streams.py`). A run that has stopped is taken out of the tensors after the epoch.
"""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from aggregate.bags.bags import Bags
from aggregate.heads.base import Head, HeadOutput, require_slices
from aggregate.heads.centring import fit_centring
from aggregate.training.block import Block, Count, Finished, Progress
from aggregate.training.blocks import bytes_of_run, groups
from aggregate.training.inputs import is_narrow, make_inputs, prepare_tokens
from aggregate.training.runs import RunSpec, TrainedRun, check_run
from aggregate.training.sampler import init_seed

__all__ = ["RunSpec", "TrainedRun", "apply_head", "train_stacked"]


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
    x, height_mm, weight = bags.x.to(dtype), bags.height_mm.to(dtype), weight.to(dtype)
    trained: dict[int, TrainedRun] = {}
    for group in groups(runs):
        head = group.first.head.build(x.shape[2], n_classes)
        tokens = prepare_tokens(head, x, bags.keep, height_mm, group.first.train)
        size = bytes_of_run(head, group.first.train.batch_size, x.shape[1], dtype.itemsize)
        for members in group.blocks(size):
            own = [runs[index] for index in members]
            parameters = head.init([init_seed(run.seed, run.repeat, run.fold) for run in own], dtype)
            if head.spec.centre:
                parameters |= fit_centring(x, bags.keep, [run.train_rows for run in own], dtype)
            inputs = make_inputs(
                head, parameters, tokens, bags.keep, height_mm, is_narrow(head, group.first.train)
            )
            block = Block(head, parameters, inputs, y, weight, own)
            trained |= dict(zip(members, block.train(report, finished), strict=True))
    return [trained[index] for index in range(len(runs))]


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
