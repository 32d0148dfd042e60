"""Somebody else's loss: any callable `(logits, embedding, y, keep) -> scalar`, of one run.

`logits` is (bag, class), `embedding` (bag, feature), `y` (bag,) and `keep` (bag,), True on the real bags
of the batch; the others must not count. A function gets its options by name beside these; a class is
made with them first. Weights of bags (a session's share of its participant) act in the cross entropy and
not here. It must be deterministic, and have no weights of its own: nothing would train them.

Runs are stacked by `torch.func.vmap`, or one by one where vmap refuses the callable (boolean indexing such
as `logits[keep]`, or control flow that depends on values).
"""

import functools
import json
import logging
from collections.abc import Callable, Sequence
from typing import ClassVar, Self

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from aggregate.losses.base import ActsOn, Batch, Counts, StackedLoss, TargetKind, TermSpec
from cache_schema.common.custom import CustomSpec, resolve
from cache_schema.common.errors import ConfigError

logger = logging.getLogger("slicecache.losses")

Loss = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


class CustomLossSpec(TermSpec, CustomSpec):
    """A term of somebody else's."""

    acts_on: ClassVar[ActsOn] = "both"
    for_target: ClassVar[TargetKind | None] = None
    weight: float = Field(default=1.0, ge=0)

    @classmethod
    def examples(cls) -> tuple[Self, ...]:
        """None of ours."""
        return ()

    @property
    def group(self) -> str:
        """Runs of one callable and equal options are computed together."""
        return f"{self.target} {json.dumps(self.options, sort_keys=True, default=repr)}"

    def loss(self) -> Loss:
        """The callable, with its options.

        Raises:
            ConfigError: If nobody permitted the target, or the loss has weights of its own.
        """
        part = resolve(self.target, "loss")
        made = part(**self.options) if isinstance(part, type) else functools.partial(part, **self.options)
        module = made.func if isinstance(made, functools.partial) else made
        if isinstance(module, nn.Module) and any(True for _ in module.parameters()):
            raise ConfigError(
                f"the loss {self.target!r} has weights of its own, which nothing would train; put them "
                "into a head, or keep them as buffers"
            )
        return made

    @classmethod
    def stacked(cls, specs: Sequence[Self], counts: Counts) -> StackedLoss:
        """Equal specs, as their group says."""
        loss = specs[0].loss()
        return Stack(specs[0].target, loss.to(counts.device) if isinstance(loss, nn.Module) else loss)


class Stack:
    """One callable over runs: by vmap where that gives what a loop gives."""

    def __init__(self, name: str, loss: Loss) -> None:
        """Decide at the first batch."""
        self.name, self.loss = name, loss
        self.by: Callable[[str, Loss, Batch], Tensor] | None = None

    def __call__(self, batch: Batch) -> Float[Tensor, " run"]:
        """Values of every run."""
        if self.by is None:
            self.by = self._chosen(batch)
        return self.by(self.name, self.loss, batch)

    @torch.no_grad()
    def _chosen(self, batch: Batch) -> Callable[[str, Loss, Batch], Tensor]:
        """How the stack is computed from now on."""
        expected = losses_by_loop(self.name, self.loss, batch)
        if len(batch) == 1:
            return losses_by_loop
        try:
            found = losses_by_vmap(self.name, self.loss, batch)
        except Exception as error:  # whatever is wrong with the loss itself, the loop has raised
            logger.info("loss %s: runs one by one, since vmap refuses it (%s)", self.name, error)
            return losses_by_loop
        same = torch.allclose(found, expected, rtol=1e-3, atol=1e-5, equal_nan=True)
        return losses_by_vmap if same else losses_by_loop


def losses_by_vmap(name: str, loss: Loss, batch: Batch) -> Float[Tensor, " run"]:
    """All runs in one call."""
    values: Tensor = torch.func.vmap(loss)(batch.logits, batch.embedding, batch.y, batch.keep)
    return values


def losses_by_loop(name: str, loss: Loss, batch: Batch) -> Float[Tensor, " run"]:
    """Run by run.

    Raises:
        ConfigError: If a value is no scalar.
    """
    runs = zip(batch.logits, batch.embedding, batch.y, batch.keep, strict=True)
    values = [loss(*run) for run in runs]
    for value in values:
        if not isinstance(value, Tensor) or value.ndim:
            found = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else repr(value)
            raise ConfigError(f"the loss {name!r} must give a tensor without dimensions, not {found}")
    return torch.stack(values)
