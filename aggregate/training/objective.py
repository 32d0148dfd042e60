"""The weighted sum of losses of stacked runs, each with its own terms, weights and options."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from aggregate.losses.base import Batch, StackedLoss, TermSpec, column
from aggregate.losses.registry import LossSpec


@dataclass(frozen=True, slots=True)
class Term:
    """One term of the runs that it weighs in."""

    runs: Int[Tensor, " some"]
    """Their places in the stack, ascending."""
    weight: Float[Tensor, " some"]
    loss: StackedLoss

    def add(self, total: Float[Tensor, " run"], batch: Batch) -> Float[Tensor, " run"]:
        """`total` with the weighted term of those of its runs that the batch has."""
        n = int((self.runs < len(batch)).sum())
        if not n:
            return total
        weight = self.weight[:n].to(total.dtype)
        if n == len(batch):
            return total + weight * self.loss(batch)
        runs = self.runs[:n]
        return total.index_add(0, runs, weight * self.loss(batch.take(runs)))


class Objective:
    """`sum_k weight_k loss_k` for each run; a term is computed for the runs that weigh it."""

    def __init__(self, losses: Sequence[LossSpec]) -> None:
        """Gather each term over the runs."""
        self.losses = list(losses)
        found: dict[tuple[str, str], dict[int, TermSpec]] = {}
        for run, loss in enumerate(losses):
            for name, term in loss.terms.items():
                found.setdefault((name, term.group), {})[run] = term
        self.terms = [_term(by_run) for by_run in found.values()]
        self.reads_embedding = any(
            term.acts_on != "logits" for by_run in found.values() for term in by_run.values()
        )

    def __call__(self, batch: Batch) -> Float[Tensor, " run"]:
        """Losses of the first runs, as many as the batch has."""
        total = batch.logits.new_zeros(len(batch))
        for term in self.terms:
            total = term.add(total, batch)
        return total

    def select(self, index: Int[Tensor, " run"]) -> "Objective":
        """Keep the runs at `index`."""
        return Objective([self.losses[place] for place in index.tolist()])


def _term(by_run: dict[int, TermSpec]) -> Term:
    """One term, stacked over its runs."""
    specs = list(by_run.values())
    weight = column([spec.weight for spec in specs])
    return Term(torch.tensor(list(by_run)), weight, type(specs[0]).stacked(specs))
