"""When a run ends, and with which weights.

Every run watches its validation cross-entropy without bag or loss weights, whatever it minimises: a
grid over loss weights would otherwise compare stopping rules. A target that is no class has another loss
for that (`Goal.watched`). With `train: {watch: auroc}`, as MST has it, it is 1 - AUROC instead.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from aggregate.training.runs import VALIDATION
from aggregate.training.solving.goal import Goal
from aggregate.training.spec import Training

Watched = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Outputs (run, bag, output), outcomes and keep -> (run,), lower = better."""


def watched_of(goal: Goal, train: Training) -> tuple[str, Watched]:
    """What a run watches: its name, and how it is worked out."""
    return ("1_minus_auroc", lost_auroc) if train.watch == "auroc" else (goal.watches, goal.watched)


def lost_auroc(
    logits: Float[Tensor, "run bag class"], y: Int[Tensor, "1 bag"], keep: Bool[Tensor, "1 bag"]
) -> Float[Tensor, " run"]:
    """1 - AUROC, of more than two classes the mean of each against the rest; NaN where one is missing."""
    labels, scores = y[0][keep[0]], logits[:, keep[0]].log_softmax(-1)
    found = []
    for label in range(1 if logits.shape[2] == 2 else 0, logits.shape[2]):
        own = labels == label
        high, low = scores[:, own, label].contiguous(), scores[:, ~own, label].sort(1).values
        below = torch.searchsorted(low, high) + torch.searchsorted(low, high, right=True)
        found.append(1 - below.to(logits.dtype).sum(1) / (2 * high.shape[1] * low.shape[1]))
    return torch.stack(found).mean(0)


@dataclass(slots=True)
class Watch:
    """One run's progress: its history, its best epoch and the weights it had then."""

    train: Training
    validated: bool
    """Whether the run has validation bags."""
    watches: str = "cross_entropy"
    """The loss that is watched."""
    best: float = float("inf")
    best_epoch: int = 0
    start: float | None = None
    """Validation cross-entropy before the first step."""
    settled: bool = False
    """Whether the start is already what training looks for."""
    epochs: int = 0
    state: dict[str, Tensor] = field(default_factory=dict)
    history: dict[str, list[float]] = field(default_factory=dict)

    @property
    def may_stop(self) -> bool:
        """Whether the run may end early; without validation bags or patience it trains all its epochs."""
        return self.validated and self.train.patience is not None

    def begin(self, validation_loss: float, candidate: bool) -> bool:
        """Take in the start, before the first step.

        Args:
            validation_loss: Of the weights that the run starts from.
            candidate: Whether they are worth keeping: a baseline is, what was drawn is not.

        Returns:
            Whether they are to be kept (`state`).
        """
        self.start = validation_loss if self.validated else None
        if candidate and self.may_stop:
            self.best = validation_loss
        return candidate and (self.may_stop or self.settled)

    def note(self, train_loss: float, validation_loss: float) -> bool:
        """Take in one more epoch.

        Returns:
            Whether the weights of this epoch are to be kept (`state`): a new best, or the last epoch of
            a run that cannot stop early.
        """
        self.epochs += 1
        self.history.setdefault("train_loss", []).append(train_loss)
        if self.validated:
            self.history.setdefault(VALIDATION + self.watches, []).append(validation_loss)
        # The first epoch counts as better even if its loss is NaN: a run that diverges at once still ends.
        better = (self.epochs == 1 and not self.state) or validation_loss < self.best
        if not self.may_stop:
            better = self.epochs == self.train.epochs
        if better:
            self.best_epoch = self.epochs
            self.best = min(self.best, validation_loss)
        return better

    @property
    def done(self) -> bool:
        """Whether the run needs no further epoch."""
        patience = self.train.patience
        waited = self.may_stop and patience is not None and self.epochs - self.best_epoch >= patience
        return self.settled or waited or self.epochs >= self.train.epochs
