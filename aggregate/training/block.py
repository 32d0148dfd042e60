"""A block: runs of one head and one batch size that train together, step by step.

The runs stand in order of their steps per epoch, so that those that still have a batch are always the
first n: a run with a smaller fold idles at no cost. Runs of one stream see the same batches and pool
them together; behind the pool all runs are one stack. What has stopped leaves the tensors.
"""

from collections.abc import Callable, Collection, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from aggregate.heads.base import Head
from aggregate.losses.cross_entropy import cross_entropy
from aggregate.training.adam import StackedAdam
from aggregate.training.inputs import Inputs
from aggregate.training.objective import Objective
from aggregate.training.runs import RunSpec, TrainedRun
from aggregate.training.stopping import Watch
from aggregate.training.streams import Stream, streams_of

Progress = Callable[[int, int], None]
Finished = Callable[[TrainedRun], None]
Pool = tuple[dict[str, Tensor], Tensor]
"""A stream's trained pool weights and the pooled vectors that hang on them."""


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
        """Hold the runs, most steps per epoch first and streams together, and their weights likewise."""
        self.head, self.parameters, self.inputs = head, parameters, inputs
        self.y, self.weight = y, weight
        self.runs = list(runs)
        self.watches = [Watch(run.train, len(run.validation_rows) > 0) for run in runs]
        self.live = list(range(len(runs)))
        self.streams = streams_of(self.runs)
        self.pool_names = tuple(head.pool_shapes())
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

    def train(self, report: Count, finished: Finished | None = None) -> list[TrainedRun]:
        """Train until every run is done; `finished` gets each as soon as it is."""
        trained: dict[int, TrainedRun] = {}
        epoch = 0
        while self.live:
            before = sum(self.watches[index].epochs for index in self.live)
            self.note(self.epoch(epoch), self.validate())
            after = sum(self.watches[index].epochs for index in self.live)
            for index in [index for index in self.live if self.watches[index].done]:
                trained[index] = self.result(index)
                if finished is not None:
                    finished(trained[index])
            saved = self.compact()
            report.add(after - before + saved)
            epoch += 1
        return [trained[index] for index in range(len(self.runs))]

    def result(self, index: int) -> TrainedRun:
        """What a run leaves."""
        watch = self.watches[index]
        return TrainedRun(self.runs[index], watch.state, watch.best_epoch, watch.epochs, watch.history)

    def epoch(self, epoch: int) -> list[float]:
        """One pass over every live run's batches; returns each run's mean loss over its steps."""
        y = self.y.numpy()
        drawn = [torch.from_numpy(stream.batches(y, epoch)) for stream in self.streams]
        total = torch.zeros(len(self.live), dtype=self.weight.dtype)
        for step in range(len(drawn[0])):
            rows = [batches[step] for batches in drawn if step < len(batches)]
            losses = self.step(rows)
            total[: len(losses)] += losses
        steps = torch.tensor([s.steps for s in self.streams for _ in range(s.runs.start, s.runs.stop)])
        means: list[float] = (total / steps).tolist()
        return means

    def step(self, rows: Sequence[Int[Tensor, " batch"]]) -> Float[Tensor, " run"]:
        """One optimiser step of the first streams, each on its own batch; returns the losses.

        The pools' graphs are kept apart from the rest, so that a stream's gradient touches no other's
        weights.
        """
        streams = self.streams[: len(rows)]
        n, trained = streams[-1].runs.stop, self.adam.parameters.keys()
        pools, vectors = self._pool(streams, rows, trained)
        counts = torch.tensor([s.runs.stop - s.runs.start for s in streams])
        order = torch.stack(list(rows)).repeat_interleave(counts, 0)
        valid, order = order >= 0, order.clamp_min(0)
        leaves = {name: self.parameters[name][:n].detach() for name in self.parameters}
        behind = [name for name in trained if name not in self.pool_names]
        inputs = [leaves[name].requires_grad_() for name in behind]
        if pools:
            inputs.append(vectors.requires_grad_())
        logits, embedding = self.head.read_out(leaves, vectors)
        losses = self.objective(logits, embedding, self.y[order], valid, self.weight[order])
        found = torch.autograd.grad(losses.sum(), inputs)
        gradients = dict(zip(behind, found, strict=False))
        if pools:
            gradients |= _pool_gradients(pools, found[-1], streams)
        self.adam.step(gradients)
        return losses.detach()

    def _pool(
        self, streams: Sequence[Stream], rows: Sequence[Int[Tensor, " batch"]], trained: Collection[str]
    ) -> tuple[list[Pool], Float[Tensor, "run batch pooled"]]:
        """Pooled vectors of all streams, cut off from the graphs that are returned beside them."""
        names = [name for name in self.pool_names if name in trained]
        pools, parts = [], []
        for stream, own in zip(streams, rows, strict=True):
            leaves = {name: self.parameters[name][stream.runs].detach() for name in self.parameters}
            wanted = {name: leaves[name].requires_grad_() for name in names}
            pooled = self.inputs.pooled(self.head, leaves, stream.runs, own.clamp_min(0))
            if wanted:
                pools.append((wanted, pooled))
            parts.append(pooled.detach().expand(stream.runs.stop - stream.runs.start, -1, -1))
        return pools, parts[0] if len(parts) == 1 else torch.cat(parts)

    @torch.no_grad()
    def validate(self) -> list[float]:
        """Each live run's mean cross entropy over its validation bags (0 without any)."""
        total = torch.zeros(len(self.live), dtype=self.weight.dtype)
        for stream in self.streams:
            rows, chunk = torch.from_numpy(stream.first.validation_rows), stream.first.train.batch_size
            own = {name: value[stream.runs] for name, value in self.parameters.items()}
            for part in rows.split(chunk) if len(rows) else ():
                pooled = self.inputs.pooled(self.head, own, stream.runs, part)
                logits, _ = self.head.read_out(own, pooled)
                valid = torch.ones((1, len(part)), dtype=torch.bool)
                total[stream.runs] += cross_entropy(logits, self.y[part].unsqueeze(0), valid) * len(part)
            total[stream.runs] /= max(1, len(rows))
        means: list[float] = total.tolist()
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
        self.streams = streams_of([self.runs[index] for index in self.live])
        return sum(self.runs[index].train.epochs - self.watches[index].epochs for index in gone)


def _pool_gradients(
    pools: Sequence[Pool], gradient: Float[Tensor, "run batch pooled"], streams: Sequence[Stream]
) -> dict[str, Tensor]:
    """Carry the gradient of the pooled vectors to the pools' own weights, stream by stream."""
    found = [
        torch.autograd.grad(pooled, list(wanted.values()), gradient[stream.runs])
        for (wanted, pooled), stream in zip(pools, streams, strict=True)
    ]
    stacked = [part[0] if len(part) == 1 else torch.cat(part) for part in zip(*found, strict=True)]
    return dict(zip(pools[0][0], stacked, strict=True))
