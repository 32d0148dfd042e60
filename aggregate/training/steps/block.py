"""A block: runs of one head and one batch size that train together, step by step.

The runs stand in order of their steps per epoch, so that those that still have a batch are always the
first n: a run with a smaller fold idles at no cost. Runs of one stream see the same batches and pool
them together; behind the pool all runs are one stack. What has stopped leaves the tensors.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from aggregate.heads.base import Head
from aggregate.heads.custom import CustomHead
from aggregate.heads.embedding import ReadOut, gradients
from aggregate.losses.base import Batch
from aggregate.training.feeding.attended import joined_attention
from aggregate.training.feeding.feed_pooling import Drawn, Labels, Pooled
from aggregate.training.feeding.feeds import Feed, as_wide, feeds_of
from aggregate.training.feeding.inputs import Inputs
from aggregate.training.feeding.pooling import make_pooling
from aggregate.training.feeding.sampler import noise_seed
from aggregate.training.feeding.streams import Stream, steps_of, streams_of
from aggregate.training.runs import RunSpec, TrainedRun, require_finite
from aggregate.training.solving.goal import Classes, Goal, Unit
from aggregate.training.steps.counting import Count
from aggregate.training.steps.level import without_level
from aggregate.training.steps.objective import Objective, class_counts
from aggregate.training.steps.optimisers import OPTIMISERS
from aggregate.training.steps.start import BIAS, WEIGHT, Standard
from aggregate.training.steps.stopping import Watch, watched_of


@dataclass(frozen=True, slots=True)
class Slopes:
    """Gradients of the losses, by what a term acts on."""

    logits: Float[Tensor, "run batch class"]
    embedding: Float[Tensor, "run batch feature"] | None = None
    attention: Float[Tensor, "run batch slice"] | None = None


class Block:
    """Runs of one head and batch size, trained together."""

    def __init__(
        self,
        head: Head,
        parameters: dict[str, Tensor],
        inputs: Inputs,
        y: Tensor,
        weight: Float[Tensor, " bag"],
        runs: Sequence[RunSpec],
        standard: Standard | None = None,
        goal: Goal | None = None,
        unit: Unit | None = None,
    ) -> None:
        """Hold the runs, most steps per epoch first and streams together, and their weights likewise.

        `standard` is of runs that start at the baseline: all of a block do, or none. `unit` is what their
        outcomes are standardised by.
        """
        self.standard, self.unit, self.goal = standard, unit, goal or Classes(head.n_classes)
        self.head, self.parameters, self.inputs = head, parameters, inputs
        self.y, self.weight = y, weight
        self.runs = list(runs)
        watches, self.watched = watched_of(self.goal, runs[0].training)
        self.watches = [Watch(run.training, len(run.validation_rows) > 0, watches) for run in runs]
        self.said: dict[int, list[Tensor]] = {index: [] for index, run in enumerate(runs) if run.is_inner}
        self.live = list(range(len(runs)))
        self.set_up_batches()
        counts = class_counts([run.train_rows for run in runs], y, weight, self.goal.n_classes)
        self.objective = Objective([run.loss for run in runs], counts)
        self.pooling = make_pooling(head, inputs, Labels(y, weight), self.objective.reads_attention)
        self.gradients = {name: torch.empty_like(value) for name, value in self.trained_parameters.items()}
        self.adam = OPTIMISERS[runs[0].training.optimiser](
            self.trained_parameters,
            [run.training.learning_rate for run in runs],
            [run.training.weight_decay for run in runs],
            [run.training.steps_of_rate(steps_of(run)) for run in runs],
            [run.training.epsilon for run in runs],
        )

    @property
    def device(self) -> torch.device:
        """Where the runs train."""
        return self.weight.device

    def set_up_batches(self) -> None:
        """Sort the live runs by what they see."""
        runs = [self.runs[index] for index in self.live]
        self.streams = streams_of(runs)
        self.feeds = feeds_of(runs, join=not isinstance(self.head, CustomHead))

    @property
    def trained_parameters(self) -> dict[str, Tensor]:
        """The weights that the optimiser moves."""
        return {name: self.parameters[name] for name in self.parameters if name in self.head.trainable}

    def train(self, report: Count) -> list[TrainedRun]:
        """Train until every run is done; each is handed over as soon as it is."""
        trained: dict[int, TrainedRun] = {}
        epoch = 0
        self.begin()
        self._hand_over(trained, report)
        report.add(self.compact())
        while self.live:
            before = sum(self.watches[index].epochs for index in self.live)
            self.note(self.epoch(epoch), self.validate())
            after = sum(self.watches[index].epochs for index in self.live)
            self._hand_over(trained, report)
            report.add(after - before + self.compact())
            epoch += 1
        return [trained[index] for index in range(len(self.runs))]

    def _hand_over(self, trained: dict[int, TrainedRun], report: Count) -> None:
        """Give away what the runs that are done have left."""
        for index in [index for index in self.live if self.watches[index].done]:
            trained[index] = self.result(index)
            report.hand_over(trained[index])

    def begin(self) -> None:
        """Look at the start of every run; one that is already what it looks for is not trained."""
        for place, (index, loss) in enumerate(zip(self.live, self.validate(), strict=True)):
            watch = self.watches[index]
            usual = self.goal.is_usual(self.runs[index].loss)
            fixed = self.standard is not None and self.head.pool_is_fixed and usual
            watch.settled = fixed or watch.train.epochs == 0
            if watch.begin(loss, self.standard is not None):
                watch.state = self.state(place)

    def result(self, index: int) -> TrainedRun:
        """What a run leaves.

        Raises:
            SlicecacheError: If it diverged.
        """
        watch, inner = self.watches[index], self.runs[index].is_inner
        require_finite(self.runs[index], watch.state)
        return TrainedRun(
            self.runs[index],
            {} if inner else self._levelled(index),
            watch.best_epoch,
            watch.epochs,
            watch.history,
            watch.start,
            self.pooling.way,
            torch.stack(self.said[index]).double().numpy() if inner else None,
        )

    def _levelled(self, index: int) -> dict[str, Tensor]:
        """A run's weights, without the level of their outputs where that means nothing."""
        place, state = self.live.index(index), self.watches[index].state
        span, run = slice(place, place + 1), self.runs[index]
        return without_level(self.goal, self.head, state, self.inputs, span, run)

    def epoch(self, epoch: int) -> list[float]:
        """One pass over every live run's batches; returns each run's mean loss over its steps."""
        self.objective.begin(epoch)
        y = self.y.cpu().numpy()
        drawn = [feed.batches(y, epoch).to(self.device) for feed in self.feeds]
        total = self.weight.new_zeros(len(self.live))
        for step in range(len(drawn[0])):
            rows = as_wide([batches[step] for batches in drawn if step < len(batches)])
            losses = self.step(rows)
            total[: len(losses)] += losses
        steps = torch.tensor(
            [feed.steps for feed in self.feeds for _ in range(feed.runs.start, feed.runs.stop)],
            device=self.device,
        )
        means: list[float] = (total / steps).tolist()
        return means

    def step(self, rows: Drawn) -> Float[Tensor, " run"]:
        """One optimiser step of the first feeds, each on its own batch; returns the losses."""
        feeds = self.feeds[: len(rows)]
        n = feeds[-1].runs.stop
        trained = {name: value[:n] for name, value in self.parameters.items()}
        own = self._as_read(trained, slice(0, n))
        wanted = {name: value[:n] for name, value in self.gradients.items()}
        pools = self.pooling(self.inputs, self.parameters, feeds, rows, self._noise(n))
        with torch.no_grad():
            vectors = [pool.vectors.expand(pool.runs.stop - pool.runs.start, -1, -1) for pool in pools]
            found = self.head.read_out(own, vectors[0] if len(vectors) == 1 else torch.cat(vectors))
        losses, slopes = self._losses(found, pools, feeds, rows)
        with torch.no_grad():
            gradient = gradients(own, found, slopes.logits, slopes.embedding, wanted)
            gradient = self.head.pooled_gradient(own, gradient)
            if self.standard is not None:
                self.standard.unfold_gradients(wanted)
        for pool in pools:
            if pool.auxiliary is not None:
                losses[pool.runs] += pool.auxiliary.detach()
            by_attention = None if slopes.attention is None else slopes.attention[pool.runs]
            for name, part in pool.gradients(gradient[pool.runs], by_attention).items():
                self.gradients[name][pool.runs] = part
        self.adam.step(wanted)
        return losses

    def _noise(self, n: int) -> list[int]:
        """A seed for the next step of each of the first n runs, if the head draws numbers."""
        if not self.pooling.random:
            return []
        places = zip(self.live[:n], self.adam.steps[:n], strict=True)
        return [noise_seed(*self.runs[index].stream, step) for index, step in places]

    def _losses(
        self,
        found: ReadOut,
        pools: Sequence[Pooled],
        feeds: Sequence[Feed],
        rows: Drawn,
    ) -> tuple[Float[Tensor, " run"], Slopes]:
        """Losses (run,) and their gradients."""
        order = torch.cat([own.expand(feed.n_runs, -1) for feed, own in zip(feeds, rows, strict=True)])
        keep, order = order >= 0, order.clamp_min(0)
        logits, embedding = found.logits.requires_grad_(), found.embedding.detach()
        inputs = {"logits": logits}
        if self.objective.reads_embedding:
            inputs["embedding"] = embedding.requires_grad_()
        attention = joined_attention(
            [(pool.attention, *pool.slices) for pool in pools if pool.slices is not None]
        )
        if attention is not None:
            inputs["attention"] = attention.weights
        y = self.outcomes(order, slice(0, len(order)))
        batch = Batch(logits, embedding, y, keep, self.weight[order], attention)
        losses = self.objective(batch)
        if not losses.requires_grad:  # a custom loss alone, with nothing to say of this batch
            return losses, Slopes(torch.zeros_like(logits))
        parts = torch.autograd.grad(losses.sum(), list(inputs.values()), materialize_grads=True)
        return losses.detach(), Slopes(**dict(zip(inputs, parts, strict=True)))

    @torch.no_grad()
    def validate(self) -> list[float]:
        """Each live run's loss that is watched, mean over its validation bags (0 without any)."""
        total = self.weight.new_zeros(len(self.live))
        for stream in self.streams:
            rows = torch.from_numpy(stream.first.validation_rows).to(self.device)
            if not len(rows):
                continue
            logits = self._validation_logits(stream, rows)
            y = self.outcomes(rows.unsqueeze(0), stream.runs)
            valid = torch.ones((1, len(rows)), dtype=torch.bool, device=self.device)
            total[stream.runs] = self.watched(logits, y, valid)
            for own, place in zip(logits, range(stream.runs.start, stream.runs.stop), strict=True):
                self._keep_said(self.live[place], own)
        means: list[float] = total.tolist()
        return means

    def _validation_logits(self, stream: Stream, rows: Int[Tensor, " bag"]) -> Float[Tensor, "run bag class"]:
        """What the runs of a stream say of their validation bags, some bags at a time."""
        own = {name: value[stream.runs] for name, value in self.parameters.items()}
        own = self._as_read(own, stream.runs)
        found = [
            self.head.read_out(own, self.inputs.pooled(self.head, own, stream.runs, part)).logits
            for part in rows.split(stream.first.training.batch_size)
        ]
        return torch.cat(found, 1)

    def _keep_said(self, index: int, logits: Float[Tensor, "bag class"]) -> None:
        """Keep what an inner run says: of all epochs where one is to be chosen, else of the last."""
        if index not in self.said:
            return
        kept = self.said[index]
        if self.runs[index].training.patience is None:
            kept.clear()
        kept.append(logits.to("cpu", copy=True))

    def note(self, train_losses: Sequence[float], validation_losses: Sequence[float]) -> None:
        """Let every live run's watch decide, and keep the weights it wants kept."""
        for place, (index, train, validation) in enumerate(
            zip(self.live, train_losses, validation_losses, strict=True)
        ):
            if self.watches[index].note(train, validation):
                self.watches[index].state = self.state(place)

    def state(self, place: int) -> dict[str, Tensor]:
        """A copy of one live run's weights on the CPU, as they are applied."""
        span = slice(place, place + 1)
        own = self._as_read({name: value[span] for name, value in self.parameters.items()}, span)
        if self.unit is not None:
            own[WEIGHT], own[BIAS] = self.unit.back(own[WEIGHT], own[BIAS], span)
        return {name: value[0].to("cpu", copy=True) for name, value in own.items()}

    def outcomes(self, rows: Int[Tensor, "#run bag"], runs: slice) -> Tensor:
        """Of bags of neighbouring runs, as training takes them."""
        return self.y[rows] if self.unit is None else self.unit.standardised(self.y[rows], runs)

    def _as_read(self, parameters: dict[str, Tensor], runs: slice) -> dict[str, Tensor]:
        """Weights of these runs as they are applied to vectors as they are."""
        return parameters if self.standard is None else self.standard.span(runs).folded(parameters)

    def compact(self) -> int:
        """Take runs that are done out of every tensor; returns the epochs that stopping saved."""
        left = [place for place, index in enumerate(self.live) if not self.watches[index].done]
        if len(left) == len(self.live):
            return 0
        gone = [index for index in self.live if self.watches[index].done]
        place = torch.tensor(left, dtype=torch.int64, device=self.device)
        self.live = [self.live[index] for index in left]
        self.parameters = {name: value[place] for name, value in self.parameters.items()}
        self.gradients = {name: value[: len(left)] for name, value in self.gradients.items()}
        self.adam.select(self.trained_parameters, place)
        self.objective = self.objective.select(place)
        self.standard = None if self.standard is None else self.standard.select(place)
        self.unit = None if self.unit is None else self.unit.select(place)
        self.inputs = self.inputs.select(place)
        self.set_up_batches()
        return sum(self.runs[index].training.epochs - self.watches[index].epochs for index in gone)
