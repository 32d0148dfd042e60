"""A block: runs of one head and one batch size that train together, step by step.

The runs stand in order of their steps per epoch, so that those that still have a batch are always the
first n: a run with a smaller fold idles at no cost. What has stopped leaves the tensors.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from aggregate.heads.base import Head
from aggregate.losses.cross_entropy import cross_entropy
from aggregate.training.adam import StackedAdam
from aggregate.training.inputs import Inputs
from aggregate.training.objective import Objective
from aggregate.training.runs import RunSpec, TrainedRun
from aggregate.training.sampler import NO_ROW, balanced_batches, order_stream, plain_batches
from aggregate.training.stopping import Watch

Progress = Callable[[int, int], None]


class Count:
    """Counts run-epochs for a progress bar; an early stop counts what it saved as done."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        """Count up to `total`."""
        self.progress, self.total, self.count = progress, total, 0

    def add(self, epochs: int) -> None:
        """Say that so many more run-epochs are done."""
        self.count += epochs
        if self.progress is not None:
            self.progress(self.count, self.total)


class Block:
    """Runs of one head and batch size, trained together."""

    def __init__(
        self,
        head: Head,
        parameters: dict[str, Tensor],
        inputs: Inputs,
        y: Int[Tensor, " bag"],
        weight: Float[Tensor, " bag"],
        runs: Sequence[RunSpec],
    ) -> None:
        """Hold the runs, most steps per epoch first, and their weights in the same order."""
        self.head, self.parameters, self.inputs = head, parameters, inputs
        self.y, self.weight = y, weight
        self.runs = list(runs)
        self.watches = [Watch(run.train, len(run.validation_rows) > 0) for run in runs]
        self.live = list(range(len(runs)))
        self.objective = Objective([run.loss for run in runs])
        self.adam = StackedAdam(
            self.trained_parameters,
            [run.train.learning_rate for run in runs],
            [run.train.weight_decay for run in runs],
        )

    @property
    def trained_parameters(self) -> dict[str, Tensor]:
        """The weights that the optimiser moves."""
        return {name: self.parameters[name] for name in self.parameters if name in self.head.trainable}

    def train(self, report: Count) -> list[TrainedRun]:
        """Train until every run is done."""
        epoch = 0
        while self.live:
            before = sum(self.watches[index].epochs for index in self.live)
            self.note(self.epoch(epoch), self.validate())
            after = sum(self.watches[index].epochs for index in self.live)
            saved = self.compact()
            report.add(after - before + saved)
            epoch += 1
        return [
            TrainedRun(run, watch.state, watch.best_epoch, watch.epochs, watch.history)
            for run, watch in zip(self.runs, self.watches, strict=True)
        ]

    def epoch(self, epoch: int) -> list[float]:
        """One pass over every live run's batches; returns each run's mean loss over its steps."""
        runs = [self.runs[index] for index in self.live]
        y = self.y.numpy()
        drawn = [_draw(run, y, epoch) for run in runs]
        rows = np.full((len(runs), len(drawn[0]), runs[0].train.batch_size), NO_ROW, dtype=np.int64)
        for run_rows, batches in zip(rows, drawn, strict=True):
            run_rows[: len(batches)] = batches
        steps = torch.tensor([len(batches) for batches in drawn])
        order = torch.from_numpy(rows)
        total = torch.zeros(len(runs), dtype=self.weight.dtype)
        for step in range(len(drawn[0])):
            n = int((steps > step).sum())
            total[:n] += self.step(order[:n, step])
        means: list[float] = (total / steps).tolist()
        return means

    def step(self, rows: Int[Tensor, "run batch"]) -> Float[Tensor, " run"]:
        """One optimiser step of the first runs, each on its own batch; returns the losses."""
        valid, rows = rows >= 0, rows.clamp_min(0)
        n = len(rows)
        leaves = {name: self.parameters[name][:n].detach() for name in self.parameters}
        trained = [leaves[name].requires_grad_() for name in self.adam.parameters]
        logits, embedding = self.inputs.forward(self.head, leaves, rows)
        losses = self.objective(logits, embedding, self.y[rows], valid, self.weight[rows])
        gradients = torch.autograd.grad(losses.sum(), trained)
        self.adam.step(dict(zip(self.adam.parameters, gradients, strict=True)))
        return losses.detach()

    @torch.no_grad()
    def validate(self) -> list[float]:
        """Each live run's mean cross entropy over its validation bags (0 without any)."""
        runs = [self.runs[index] for index in self.live]
        counts = torch.tensor([len(run.validation_rows) for run in runs])
        width, chunk = int(counts.max()), runs[0].train.batch_size
        rows = torch.full((len(runs), width), NO_ROW)
        for run_rows, run in zip(rows, runs, strict=True):
            run_rows[: len(run.validation_rows)] = torch.from_numpy(run.validation_rows)
        total = torch.zeros(len(runs), dtype=self.weight.dtype)
        for start in range(0, width, chunk):
            valid = rows[:, start : start + chunk] >= 0
            part = rows[:, start : start + chunk].clamp_min(0)
            logits, _ = self.inputs.forward(self.head, self.parameters, part)
            total += cross_entropy(logits, self.y[part], valid) * valid.sum(1)
        means: list[float] = (total / counts.clamp_min(1)).tolist()
        return means

    def note(self, train_losses: Sequence[float], validation_losses: Sequence[float]) -> None:
        """Let every live run's watch decide, and keep the weights it wants kept."""
        for place, (index, train, validation) in enumerate(
            zip(self.live, train_losses, validation_losses, strict=True)
        ):
            if self.watches[index].note(train, validation):
                kept = {name: value[place].clone() for name, value in self.parameters.items()}
                self.watches[index].state = kept

    def compact(self) -> int:
        """Take runs that are done out of every tensor; returns the epochs that stopping saved."""
        left = [place for place, index in enumerate(self.live) if not self.watches[index].done]
        if len(left) == len(self.live):
            return 0
        gone = [index for index in self.live if self.watches[index].done]
        place = torch.tensor(left, dtype=torch.int64)
        self.live = [self.live[index] for index in left]
        self.parameters = {name: value[place] for name, value in self.parameters.items()}
        self.adam.select(self.trained_parameters, place)
        self.objective = self.objective.select(place)
        self.inputs = self.inputs.select(place)
        return sum(self.runs[index].train.epochs - self.watches[index].epochs for index in gone)


def _draw(run: RunSpec, y: NDArray[np.int64], epoch: int) -> NDArray[np.int64]:
    """One run's batches of one epoch."""
    stream = order_stream(run.seed, run.repeat, run.fold, epoch)
    rows, size = run.train_rows, run.train.batch_size
    if run.class_balanced:
        return balanced_batches(rows, y[rows], size, stream)
    return plain_batches(rows, size, stream)
