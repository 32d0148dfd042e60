"""CORN: ordered classes by conditional tasks (Shi, Cao and Raschka 2021, arXiv 2111.08851).

Of C ordered classes the head has C - 1 outputs; output k says how likely `y > k` is among bags with `y >= k`.
It is for ordinal targets, whose heads have those outputs. A classifier with C outputs has no use for it: its
softmax says each conditional probability already, by `z_k = log sum_{j > k} exp(l_j) - l_k`, and CORN of
these is the cross entropy times a constant of the batch (tested).
"""

from collections.abc import Sequence
from typing import ClassVar, Self

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import logsigmoid, pad

from aggregate.losses.base import ActsOn, Counts, StackedLoss, TargetKind, TermSpec


class CornSpec(TermSpec):
    """CORN of the outputs of an ordinal head."""

    acts_on: ClassVar[ActsOn] = "logits"
    for_target: ClassVar[TargetKind] = "ordinal"

    @classmethod
    def stacked(cls, specs: Sequence[Self], counts: Counts) -> StackedLoss:
        """It has no options."""
        return lambda batch: corn(batch.logits, batch.y, batch.keep * batch.weight)


def corn(
    logits: Float[Tensor, "run bag step"], y: Int[Tensor, "run bag"], weight: Float[Tensor, "run bag"]
) -> Float[Tensor, " run"]:
    """Cross entropy of every task over the bags that it is about, over all tasks' bags.

    `-sum_k sum_{i: y_i >= k} b_i log P(y_i > k or not | y_i >= k) / sum_k sum_{i: y_i >= k} b_i`, with
    bag weights b, 0 at pads.
    """
    step = torch.arange(logits.shape[-1], device=logits.device)
    about = weight.unsqueeze(-1) * (y.unsqueeze(-1) >= step)
    surprise = -torch.where(y.unsqueeze(-1) > step, logsigmoid(logits), logsigmoid(-logits))
    below = about.sum((1, 2)).clamp_min(torch.finfo(logits.dtype).tiny)
    return (surprise * about).sum((1, 2)) / below


def corn_log_probabilities(logits: Float[Tensor, "... step"]) -> Float[Tensor, "... class"]:
    """Log probabilities of the classes, by the chain of the tasks."""
    reached = pad(logsigmoid(logits).cumsum(-1), (1, 0))
    return reached + pad(logsigmoid(-logits), (0, 1))
