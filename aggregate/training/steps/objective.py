"""The weighted sum of losses of stacked runs, each with its own terms, weights, schedules and options."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from aggregate.losses.base import Batch, Counts, Remembering, StackedLoss, TermSpec, column
from aggregate.losses.registry import LossSpec


@dataclass(slots=True)
class Term:
    """One term of the runs that it weighs in."""

    runs: Int[Tensor, " some"]
    """Their places in the stack, ascending."""
    specs: Sequence[TermSpec]
    loss: StackedLoss
    weight: Float[Tensor, " some"]
    """Of the present epoch."""

    def begin(self, epoch: int) -> None:
        """Weigh as this epoch asks."""
        self.weight = column([spec.weight_at(epoch) for spec in self.specs], self.runs)

    def recall(self, before: "Term", index: Int[Tensor, " run"]) -> None:
        """Take over what the term kept of its runs, which stood at `index` in the stack before."""
        if isinstance(self.loss, Remembering):
            self.loss.recall(before.loss, torch.searchsorted(before.runs, index[self.runs]))

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

    def __init__(self, losses: Sequence[LossSpec], counts: Counts) -> None:
        """Gather each term over the runs.

        Args:
            losses: Of each run.
            counts: Of each run's training bags by label (see `class_counts`).
        """
        self.losses, self.counts = list(losses), counts
        found: dict[tuple[str, str], dict[int, TermSpec]] = {}
        for run, loss in enumerate(losses):
            for name, term in loss.terms.items():
                found.setdefault((name, term.group), {})[run] = term
        self.terms = {key: _term(by_run, counts) for key, by_run in found.items()}
        parts = {term.acts_on for by_run in found.values() for term in by_run.values()}
        self.reads_embedding = not parts.isdisjoint(("embedding", "both"))
        self.reads_attention = "attention" in parts

    def __call__(self, batch: Batch) -> Float[Tensor, " run"]:
        """Losses of the first runs, as many as the batch has."""
        total = batch.logits.new_zeros(len(batch))
        for term in self.terms.values():
            total = term.add(total, batch)
        return total

    def begin(self, epoch: int) -> None:
        """Weigh the terms as their schedules have it in this epoch, counted from 0."""
        for term in self.terms.values():
            term.begin(epoch)

    def select(self, index: Int[Tensor, " run"]) -> "Objective":
        """Keep the runs at `index`, with what their terms remember; an epoch begins next."""
        kept = Objective([self.losses[place] for place in index.tolist()], self.counts[index])
        for key, term in kept.terms.items():
            term.recall(self.terms[key], index)
        return kept


def _term(by_run: dict[int, TermSpec], counts: Counts) -> Term:
    """One term, stacked over its runs."""
    runs, specs = torch.tensor(list(by_run), device=counts.device), list(by_run.values())
    loss = type(specs[0]).stacked(specs, counts[runs])
    return Term(runs, specs, loss, column([spec.weight_at(0) for spec in specs], runs))


def class_counts(
    rows: Sequence[NDArray[np.int64]],
    y: Tensor,
    weight: Float[Tensor, " bag"],
    n_classes: int,
) -> Counts:
    """Weight of every run's training bags by label: their participants, as a session weighs its share.

    Args:
        rows: Training bags of each run.
        y: Label of every bag.
        weight: Of every bag.
        n_classes: Number of labels; 0 for outcomes that are none.
    """
    counts = torch.zeros(len(rows), n_classes, dtype=torch.float64, device=y.device)
    if not n_classes:
        return counts
    for own, run in zip(counts, rows, strict=True):
        index = torch.from_numpy(run).to(y.device)
        own.index_add_(0, y[index], weight[index].double())
    return counts
