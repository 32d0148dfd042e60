"""Train many runs at once along a leading run axis, each giving what it would have given alone.

Runs of one head spec and one batch size form blocks (`blocks.py`), which train side by side, one per core
(`workers.py`). Within a block, runs that see the same batches form streams (`streams.py`). A run that has
stopped is taken out of the tensors after the epoch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from aggregate.bags.bags import Bags
from aggregate.bags.lazy import LazyTokens, TokenArray
from aggregate.heads.base import Head, HeadOutput, require_slices
from aggregate.heads.centring import BagSums, fit_centring, sum_bags
from aggregate.heads.multiply import multiplied_by
from aggregate.losses.registry import require_trainable
from aggregate.training.device import CPU, device_of, short_of_memory, workers_on
from aggregate.training.feeding.inputs import make_inputs, prepare_tokens
from aggregate.training.feeding.sampler import init_seed
from aggregate.training.inner import inner_epochs, look_inside
from aggregate.training.runs import RunSpec, TrainedRun, check_run, with_common_batches
from aggregate.training.solving.goal import Goal, Unit, goal_of
from aggregate.training.steps.block import Block
from aggregate.training.steps.blocks import Group, bound_on, bytes_of_run, group_runs
from aggregate.training.steps.counting import Count, Finished
from aggregate.training.steps.start import Labelled, start_at_baseline
from aggregate.training.workers import run_side_by_side
from cache_schema.common.errors import ConfigError
from cache_schema.common.terminal.progress import Progress

__all__ = ["RunSpec", "TrainedRun", "apply_head", "apply_to_views", "train_stacked"]


def train_stacked(
    bags: Bags,
    y: Tensor,
    weight: Float[Tensor, " bag"],
    goal: Goal | int,
    runs: Sequence[RunSpec],
    dtype: torch.dtype = torch.float32,
    progress: Progress | None = None,
    finished: Finished | None = None,
    group: NDArray[np.int64] | None = None,
    strata: NDArray[np.int64] | None = None,
) -> list[TrainedRun]:
    """Train every run and return them in the order given.

    Args:
        bags: All bags that the runs' rows point into.
        y: Label of every bag, from 0 on, or what else the goal is about (bag,) or (bag, number).
        weight: Weight of every bag in the cross entropy of training (validation is not weighted).
        goal: What is learnt; a number of labels is the goal of telling these.
        runs: What to train.
        dtype: Of weights and arithmetic.
        progress: Called with (run-epochs done, run-epochs at most) after every epoch.
        finished: Called with every run as soon as it is trained; from any thread, but never twice at once.
        group: Participant of every bag (bag,), for the inner folds that a baseline is chosen by; by default
            every bag is somebody's own.
        strata: What these inner folds are dealt by (bag,); by default the labels.

    Raises:
        ConfigError: If a run's loss cannot train its head.
        SlicecacheError: If a bag has no kept slice, or a run no bag or an unlabelled one.
    """
    require_slices(bags.keep)
    slices, dim = bags.x.shape[1:]
    runs = with_common_batches(runs, max(1, slices * dim * dtype.itemsize))
    goal = goal_of(goal)
    dealt_by = y.numpy() if strata is None else strata
    for run in runs:
        check_run(run, y.numpy(), dealt_by, goal)
    people = np.arange(len(y)) if group is None else group
    cohort = TrainingBags(
        x=bags.x.to(dtype),
        keep=bags.keep,
        height_mm=bags.height_mm.to(dtype),
        y=y.to(dtype) if y.is_floating_point() else y,
        weight=weight.to(dtype),
        labelled=Labelled(y.numpy(), weight.double().numpy(), people, goal, dealt_by),
        sums=sum_bags(bags.x, bags.keep),
        dtype=dtype,
    )
    inner, whole = sum(map(inner_epochs, runs)), sum(run.training.epochs for run in runs)
    aside = Count(progress, inner + whole)
    runs = look_inside(runs, dealt_by, people, lambda specs: train_runs(cohort, specs, aside))
    report = Count(progress, inner + whole, finished)
    report.add(inner + whole - sum(run.training.epochs for run in runs))
    return train_runs(cohort, runs, report)


def train_runs(cohort: "TrainingBags", runs: Sequence[RunSpec], report: Count) -> list[TrainedRun]:
    """Train runs that were checked, in their order."""
    trained: dict[int, TrainedRun] = {}
    for alike in group_runs(runs):
        trained |= train_group(cohort, alike, runs, report)
    return [trained[index] for index in range(len(runs))]


@dataclass(frozen=True, slots=True)
class TrainingBags:
    """What all runs train on, in the dtype of the arithmetic; on a device but for `labelled` and `sums`."""

    x: TokenArray
    keep: Bool[Tensor, "bag slice"]
    height_mm: Float[Tensor, "bag slice"]
    y: Tensor
    weight: Float[Tensor, " bag"]
    labelled: Labelled
    sums: BagSums
    dtype: torch.dtype
    device: torch.device = CPU

    def on(self, device: torch.device) -> "TrainingBags":
        """The same there."""
        if device == self.device:
            return self
        x = self.x.on(device) if isinstance(self.x, LazyTokens) else self.x.to(device)
        keep, height_mm, y, weight = (
            part.to(device) for part in (self.keep, self.height_mm, self.y, self.weight)
        )
        return replace(self, x=x, keep=keep, height_mm=height_mm, y=y, weight=weight, device=device)


def train_group(
    cohort: TrainingBags, group: Group, runs: Sequence[RunSpec], report: Count
) -> dict[int, TrainedRun]:
    """Train runs of one head, by index; their blocks side by side on the cores."""
    goal = cohort.labelled.goal
    head = group.first.head.build(cohort.x.shape[2], goal.n_outputs)
    if head.has_auxiliary and head.n_classes != goal.n_classes:
        raise ConfigError(
            f"head {head.spec.name!r} tells the classes of single slices, and this target is of kind "
            f"{goal.target}; take another head, or for clam_sb instance_weight: 0"
        )
    for index in group.members:
        layers = bool(head.spec.embedding)
        learns = not head.pool_is_fixed
        require_trainable(runs[index].loss, head.spec.name, layers, pool=learns, target=goal.target)
    device = device_of(group.first.train.device)
    if device != CPU and group.first.train.product != "torch":
        raise ConfigError(
            f"train.products: {group.first.train.product} is for the CPU; leave it out where train.device "
            "is a GPU"
        )
    try:
        cohort = cohort.on(device)
        tokens = prepare_tokens(head, cohort.x, cohort.keep, cohort.height_mm)
    except torch.OutOfMemoryError as error:
        raise short_of_memory(device, f"the tokens of {len(cohort.keep)} bags") from error
    workers = workers_on(device)
    batch, pairs = group.first.training.batch_size, any(runs[i].loss.contrastive for i in group.members)
    size = bytes_of_run(head, batch, cohort.x.shape[1], cohort.dtype.itemsize, pairs)
    blocks = group.blocks(size, workers, bound_on(device))
    multiplied = multiplied_by(group.first.train.product)
    jobs = [
        partial(multiplied(train_in_memory), cohort, tokens, [runs[index] for index in members], report)
        for members in blocks
    ]
    found = run_side_by_side(jobs, workers)
    return {
        index: run
        for members, trained in zip(blocks, found, strict=True)
        for index, run in zip(members, trained, strict=True)
    }


def train_in_memory(
    cohort: TrainingBags, tokens: TokenArray, runs: Sequence[RunSpec], report: Count
) -> list[TrainedRun]:
    """Train a block, or its halves where a GPU's memory is too small for it: a run is the same in either.

    Raises:
        MachineError: If it is too small for one run.
    """
    try:
        return train_block(cohort, tokens, runs, report)
    except torch.OutOfMemoryError as error:
        if len(runs) == 1:
            raise short_of_memory(cohort.device, f"the run {runs[0].name}") from error
    # Not in the handler, whose traceback holds what did not fit.
    half = len(runs) // 2
    halves = (runs[:half], runs[half:])
    return [run for part in halves for run in train_in_memory(cohort, tokens, part, report)]


def train_block(
    cohort: TrainingBags, tokens: TokenArray, runs: Sequence[RunSpec], report: Count
) -> list[TrainedRun]:
    """Draw the runs' first weights and train them together, with a head that no other thread uses."""
    goal, labelled = cohort.labelled.goal, cohort.labelled
    head = runs[0].head.build(cohort.x.shape[2], goal.n_outputs)
    parameters = head.init([init_seed(*run.stream) for run in runs], cohort.dtype)
    if head.spec.centre:
        parameters |= fit_centring(cohort.sums, [run.train_rows for run in runs], cohort.dtype)
    parameters = {name: value.to(cohort.device) for name, value in parameters.items()}
    units = [goal.unit(labelled.y[run.train_rows], labelled.weight[run.train_rows]) for run in runs]
    unit = Unit.of(units, cohort.weight)
    if not runs[0].training.starts_at_baseline:
        inputs = make_inputs(head, parameters, tokens, cohort.keep, cohort.height_mm)
        block = Block(head, parameters, inputs, cohort.y, cohort.weight, runs, goal=goal, unit=unit)
        return block.train(report)
    parameters = head.even(parameters)
    inputs = make_inputs(head, parameters, tokens, cohort.keep, cohort.height_mm)
    means = cohort.sums.mean.numpy()
    standard = start_at_baseline(head, parameters, inputs, runs, labelled, means, unit)
    block = Block(head, parameters, inputs, cohort.y, cohort.weight, runs, standard, goal, unit)
    return block.train(report)


@torch.no_grad()
def apply_head(
    head: Head, states: Sequence[Mapping[str, Tensor]], bags: Bags, batch: int = 256
) -> HeadOutput:
    """Apply several runs' weights to the same bags, some bags at a time, without gradients.

    Raises:
        SlicecacheError: If a bag has no kept slice.
    """
    parameters = {name: torch.stack([state[name] for state in states]) for name in head.shapes}
    dtype = parameters["classifier.weight"].dtype
    outputs = [
        head(
            parameters,
            _in_order(bags, part).to(dtype),
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


def apply_to_views(head: Head, states: Sequence[Mapping[str, Tensor]], bags: Bags) -> HeadOutput:
    """As `apply_head`, with the mean of the logits over the bags and all their views."""
    found = apply_head(head, states, bags)
    if not bags.views:
        return found
    logits = [found.logits, *(apply_head(head, states, view).logits for view in bags.views)]
    return replace(found, logits=torch.stack(logits).mean(0))


def _in_order(bags: Bags, part: slice) -> Float[Tensor, "bag slice dim"]:
    """The tokens of some bags as they are read: a bag's kept slices the other way round where it is so."""
    x = bags.x[part]
    if not bags.backwards:
        return x
    keep = bags.keep[part]
    places = torch.arange(keep.shape[1]).expand(keep.shape)
    order = torch.where(keep, keep.sum(1, keepdim=True) - 1 - places, places)
    return x.gather(1, order.unsqueeze(-1).expand(x.shape))
