"""How the runs of a block pool their batches in one step.

Runs of one feed pool a batch together (`training/feed_pooling.py`). A custom head's runs
go one by one, or all at once by `torch.func.vmap`, feeds included: one timed step of both decides.
"""

import logging
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby

import torch
from jaxtyping import Int
from torch import Tensor

from aggregate.heads.base import Head
from aggregate.heads.custom import CustomHead, Way, vmap_refuses
from aggregate.heads.module import BagTensors, by_loop, by_vmap, unbound
from aggregate.training.feeding.feed_pooling import Drawn, FeedPooling, Labels, Pooled
from aggregate.training.feeding.feeds import Feed
from aggregate.training.feeding.inputs import BagInputs, Inputs

logger = logging.getLogger("slicecache.training")

_FILTERS = threading.Lock()
WARM, TIMED = 1, 1
"""Passes of the step that decides."""


class ModulePooling(FeedPooling):
    """A custom head's runs, one by one or all at once."""

    head: CustomHead

    def __init__(self, head: CustomHead, labels: Labels, attends: bool = False) -> None:
        """The first step decides, where there is something to decide."""
        super().__init__(head, labels, attends)
        self.random = head.facts.random
        asked = head.spec.stacking
        self.way = "loop" if self.random or not self.trained else None if asked == "auto" else asked

    def __call__(
        self,
        inputs: Inputs,
        parameters: Mapping[str, Tensor],
        feeds: Sequence[Feed],
        rows: Drawn,
        noise: Sequence[int],
    ) -> list[Pooled]:
        """As every pooling."""
        if not isinstance(inputs, BagInputs):
            raise TypeError("a custom head that trains reads bags")
        with torch.no_grad():
            batches = [
                self._batch(inputs, parameters, feed, part[0]) for feed, part in zip(feeds, rows, strict=True)
            ]
        if self.way is None:
            self.way = self.head.way = self._chosen(parameters, feeds, batches)
        if self.way == "vmap":
            return self._by_vmap(parameters, feeds, batches)
        return self._by_loop(parameters, feeds, batches, noise)

    def _batch(
        self, inputs: BagInputs, parameters: Mapping[str, Tensor], feed: Feed, rows: Int[Tensor, " batch"]
    ) -> BagTensors:
        """What all runs of a feed read: they have one fold, and so one centring."""
        x, keep, height_mm = inputs.gathered(self.head, rows.clamp_min(0))
        return self.head.tokens(parameters, feed.runs.start, x, keep), keep, height_mm

    def _by_loop(
        self,
        parameters: Mapping[str, Tensor],
        feeds: Sequence[Feed],
        batches: Sequence[BagTensors],
        noise: Sequence[int] = (),
    ) -> list[Pooled]:
        """Run by run; a graph for each feed."""
        pools = []
        for feed, batch in zip(feeds, batches, strict=True):
            own, leaves = self.weights(parameters, feed.runs)
            runs = feed.runs.stop - feed.runs.start
            states = unbound(self.head.state(own), runs)
            vectors, attention = by_loop(self.head.trainer, states, [batch] * runs, noise[feed.runs])
            slices = self.slices(attention, *(part.unsqueeze(0) for part in batch[1:]))
            pools.append(Pooled(feed.runs, leaves, vectors, attention, slices=slices))
        return pools

    def _by_vmap(
        self, parameters: Mapping[str, Tensor], feeds: Sequence[Feed], batches: Sequence[BagTensors]
    ) -> list[Pooled]:
        """Neighbouring feeds of equally many runs at once.

        Raises:
            ConfigError: If vmap refuses the module, whatever it raises then.
        """
        pools = []
        together = zip(feeds, batches, strict=True)
        for _, neighbours in groupby(together, lambda pair: pair[0].runs.stop - pair[0].runs.start):
            alike = list(neighbours)
            runs = slice(alike[0][0].runs.start, alike[-1][0].runs.stop)
            own, leaves = self.weights(parameters, runs)
            batch = side_by_side([batch for _, batch in alike])
            try:
                state = self.head.state(own)
                vectors, attention = by_vmap(self.head.trainer, state, batch, len(alike))
            except Exception as error:
                raise vmap_refuses(self.head.spec.target, error) from error
            slices = self.slices(attention, *batch[1:])
            pools.append(Pooled(runs, leaves, vectors, attention, slices=slices))
        return pools

    def _chosen(
        self, parameters: Mapping[str, Tensor], feeds: Sequence[Feed], batches: Sequence[BagTensors]
    ) -> Way:
        """The faster of both, if vmap takes the module and gives what the loop gives."""
        name, runs = self.head.spec.target, feeds[-1].runs.stop
        if runs == 1:
            logger.info("head %s: 1 run", name)
            return "loop"
        loop, expected = timed(lambda: self._by_loop(parameters, feeds, batches))
        try:
            with without_fallback_warnings():
                vmap, found = timed(lambda: self._by_vmap(parameters, feeds, batches))
                self._evaluate_by_vmap(parameters, feeds[0], batches[0])
        except Exception as error:  # whatever is wrong with the module itself, the loop has raised
            logger.info("head %s: runs one by one, since vmap refuses it (%s)", name, error)
            return "loop"
        same = torch.allclose(found, expected, rtol=1e-3, atol=1e-5)
        way: Way = "vmap" if vmap < loop and same else "loop"
        logger.info(
            "head %s: %d runs by %s (a step by vmap takes %.2f ms, by loop %.2f ms)",
            *(name, runs, way, 1e3 * vmap, 1e3 * loop),
        )
        return way

    @torch.no_grad()
    def _evaluate_by_vmap(self, parameters: Mapping[str, Tensor], feed: Feed, batch: BagTensors) -> None:
        """Validation goes another way through some modules (a transformer's fast path)."""
        self.head.way = "vmap"
        self.head.pool(self.weights(parameters, feed.runs)[0], *batch)


def make_pooling(head: Head, inputs: Inputs, labels: Labels, attends: bool = False) -> FeedPooling:
    """A head's way to pool in training; `attends` if the objective reads the attention."""
    if isinstance(head, CustomHead) and isinstance(inputs, BagInputs):
        return ModulePooling(head, labels, attends)
    return FeedPooling(head, labels, attends)


@contextmanager
def without_fallback_warnings() -> Iterator[None]:
    """Where vmap has no rule of its own for an operation it says so; here the clock tells what that costs."""
    with _FILTERS, warnings.catch_warnings():  # the filters are one for all threads
        warnings.filterwarnings("ignore", message="There is a performance drop", category=UserWarning)
        yield


def side_by_side(batches: Sequence[BagTensors]) -> BagTensors:
    """Batches (feed, bag, slice, ...), padded as far as the longest reaches."""
    longest = max(batch[1].shape[1] for batch in batches)
    x, keep, height_mm = (
        torch.stack([_padded(batch[part], longest) for batch in batches]) for part in range(3)
    )
    return x, keep, height_mm


def _padded(values: Tensor, slices: int) -> Tensor:
    """Bags with so many slices."""
    short = slices - values.shape[1]
    return torch.nn.functional.pad(values, (0, 0) * (values.ndim - 2) + (0, short)) if short else values


def timed(step: Callable[[], list[Pooled]]) -> tuple[float, Tensor]:
    """Seconds of this thread, or of a GPU, for one step with its gradients, and the pooled vectors."""
    for _ in range(WARM + TIMED):
        start = time.thread_time(), time.perf_counter()
        pools = step()
        for pool in pools:
            pool.gradients(torch.ones_like(pool.vectors))
        seconds = time.thread_time() - start[0]
        if pools[0].vectors.is_cuda:
            torch.cuda.synchronize(pools[0].vectors.device)
            seconds = time.perf_counter() - start[1]
    return seconds, torch.cat([pool.vectors.detach() for pool in pools])
