"""What neighbouring runs make of their batch in one step, with a graph of its own.

Runs of one feed pool its batch together. Behind the pool the block goes on by hand; what comes
back into the graph are the gradients of the pooled vectors, of attention where a term of the objective acts
on it, and of the head's own term where it has one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from aggregate.heads.base import Head
from aggregate.heads.custom import Way
from aggregate.heads.module import BagTensors
from aggregate.training.feeding.attended import Slices, require_learned
from aggregate.training.feeding.feeds import Feed
from aggregate.training.feeding.inputs import BagInputs, Inputs

Drawn = Sequence[Int[Tensor, "#run batch"]]
"""Each feed's batch: a bag, or -1 where a place is empty or the bag not a run's."""


@dataclass(frozen=True, slots=True)
class Labels:
    """What a head's own term of the objective knows of the cohort."""

    y: Int[Tensor, " bag"]
    weight: Float[Tensor, " bag"]


@dataclass(frozen=True, slots=True)
class Pooled:
    """What neighbouring runs made of their batch, and the trained weights that it hangs on."""

    runs: slice
    leaves: dict[str, Tensor]
    vectors: Float[Tensor, "#run bag pooled"]
    attention: Float[Tensor, "#run bag slice"] | None = None
    """In the same graph; None if the vectors were pooled before, or a custom head gives none."""
    auxiliary: Float[Tensor, " run"] | None = None
    """The head's own term of the objective, in the same graph; None if it has none."""
    slices: Slices | None = None
    """Of the batch, where a term of the objective acts on attention."""

    def gradients(
        self,
        gradient: Float[Tensor, "run bag pooled"],
        by_attention: Float[Tensor, "run bag slice"] | None = None,
    ) -> dict[str, Tensor]:
        """Of the leaves, from those of the vectors and the attention, and from the head's own term."""
        if not self.leaves:
            return {}
        outputs, given = [self.vectors], [gradient]
        if self.attention is not None and by_attention is not None:
            outputs.append(self.attention)
            given.append(by_attention[..., : self.attention.shape[-1]])
        if self.auxiliary is not None:
            outputs.append(self.auxiliary)
            given.append(torch.ones_like(self.auxiliary))
        leaves = list(self.leaves.values())
        parts = torch.autograd.grad(outputs, leaves, given, materialize_grads=True)
        return dict(zip(self.leaves, parts, strict=True))


class FeedPooling:
    """A feed's batch is pooled by all its runs together, as the head has it."""

    way: Way | None = None
    random = False

    def __init__(self, head: Head, labels: Labels, attends: bool = False) -> None:
        """Find out which of the pool's weights train; `attends` if the objective reads the attention."""
        self.head, self.labels, self.attends = head, labels, attends
        self.trained = [name for name in head.pool_shapes() if name in head.trainable]

    def __call__(
        self,
        inputs: Inputs,
        parameters: Mapping[str, Tensor],
        feeds: Sequence[Feed],
        rows: Drawn,
        noise: Sequence[int],
    ) -> list[Pooled]:
        """One step of these feeds, each on its batch; a run's seed in `noise` is what it draws from."""
        pools = []
        for feed, part in zip(feeds, rows, strict=True):
            own, leaves = self.weights(parameters, feed.runs)
            bags = part.amax(0).clamp_min(0)
            if isinstance(inputs, BagInputs):
                batch = inputs.gathered(self.head, bags)
                vectors, attention = self.head.pool(own, *batch)
                auxiliary = self.auxiliary(own, batch, attention, part)
                slices = self.slices(attention, *(part.unsqueeze(0) for part in batch[1:]))
                pools.append(Pooled(feed.runs, leaves, vectors, attention, auxiliary, slices))
            else:
                vectors = inputs.pooled(self.head, own, feed.runs, bags)
                pools.append(Pooled(feed.runs, leaves, vectors))
        return pools

    def auxiliary(
        self,
        parameters: Mapping[str, Tensor],
        batch: BagTensors,
        attention: Float[Tensor, "#run bag slice"],
        rows: Int[Tensor, "#run batch"],
    ) -> Float[Tensor, " run"] | None:
        """The head's own term, a mean over a run's bags by their weight."""
        if not self.head.has_auxiliary:
            return None
        bags = rows.amax(0).clamp_min(0)
        terms = self.head.auxiliary(parameters, *batch, attention, self.labels.y[bags])
        weight = self.labels.weight[bags] * (rows >= 0)
        return (terms * weight).sum(1) / weight.sum(1).clamp_min(torch.finfo(weight.dtype).tiny)

    def slices(
        self,
        attention: Float[Tensor, "run bag slice"] | None,
        keep: Bool[Tensor, "feed bag slice"],
        height_mm: Float[Tensor, "feed bag slice"],
    ) -> Slices | None:
        """Of neighbouring feeds' batches, for terms that act on the attention; None without any.

        Raises:
            ConfigError: If there is one, and the head has no attention to learn.
        """
        if not self.attends:
            return None
        runs = require_learned(self.head.spec.name, attention) // len(keep)
        return keep.repeat_interleave(runs, 0), height_mm.repeat_interleave(runs, 0)

    def weights(
        self, parameters: Mapping[str, Tensor], runs: slice
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """These runs' parameters, and those of them that gradients are wanted of."""
        own = {name: value[runs].detach() for name, value in parameters.items()}
        return own, {name: own[name].requires_grad_() for name in self.trained}
