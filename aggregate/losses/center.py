"""Center loss: embeddings near the running centre of their label (Wen et al. 2016).

`(1 / 2B) sum_i |g_i - c_{y_i}|^2` over the B kept bags. Centres begin at 0 and move as in the paper
(equation 4): after each step `c_j += alpha sum_{i: y_i = j} (g_i - c_j) / (1 + n_j)`, with the batch's n_j
bags of label j; no gradient goes through them. Running centres and not learned ones, since they are the
paper's, need no learning rate and leave nothing in a bundle that prediction has no use for; and not the
batch's means, since those are what `class_variance` pulls to. Embeddings are not normalised, as published.
"""

from collections.abc import Sequence
from typing import Self

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor

from aggregate.losses.base import Batch, Counts, StackedLoss, TermSpec, column


class CenterSpec(TermSpec):
    """Distance of the embeddings to a running centre of their label (Wen et al. 2016)."""

    alpha: float = Field(default=0.5, gt=0, le=1)
    """How far centres move in a step."""

    @classmethod
    def stacked(cls, specs: Sequence[Self], counts: Counts) -> StackedLoss:
        """Each run has centres of its own."""
        return RunningCentres(column([spec.alpha for spec in specs], counts), counts.shape[1])


class RunningCentres:
    """The loss of stacked runs, whose centres move with every call."""

    def __init__(self, alpha: Float[Tensor, " run"], n_classes: int) -> None:
        """Centres are made at the first call, which knows the embedding's width."""
        self.alpha, self.n_classes = alpha, n_classes
        self.centres: Float[Tensor, "run class feature"] | None = None

    def __call__(self, batch: Batch) -> Float[Tensor, " run"]:
        """Values of the first runs, whose centres then move."""
        n, embedding = len(batch), batch.embedding
        if self.centres is None:
            shape = (len(self.alpha), self.n_classes, embedding.shape[-1])
            self.centres = embedding.new_zeros(shape)
        centres = self.centres[:n]
        value = center(embedding, batch.y, batch.keep, centres)
        with torch.no_grad():
            alpha = self.alpha[:n].to(embedding.dtype)
            centres += alpha.view(-1, 1, 1) * centre_steps(embedding, batch.y, batch.keep, centres)
        return value

    def recall(self, before: "RunningCentres", runs: Int[Tensor, " run"]) -> None:
        """The centres of those runs of a larger stack."""
        if before.centres is not None:
            self.centres = before.centres[runs]


def center(
    embedding: Float[Tensor, "run bag feature"],
    y: Int[Tensor, "run bag"],
    keep: Bool[Tensor, "run bag"],
    centres: Float[Tensor, "run class feature"],
) -> Float[Tensor, " run"]:
    """Half the mean squared distance of kept bags to the centre of their label."""
    own = centres.gather(1, y.unsqueeze(-1).expand(embedding.shape))
    squares = (embedding - own).square().sum(-1)
    return (squares * keep).sum(-1) / (2 * keep.sum(-1).clamp_min(1))


def centre_steps(
    embedding: Float[Tensor, "run bag feature"],
    y: Int[Tensor, "run bag"],
    keep: Bool[Tensor, "run bag"],
    centres: Float[Tensor, "run class feature"],
) -> Float[Tensor, "run class feature"]:
    """`sum_{i: y_i = j} (g_i - c_j) / (1 + n_j)` for every label j."""
    labels = torch.arange(centres.shape[1], device=centres.device).view(1, -1, 1)
    member = ((y.unsqueeze(1) == labels) & keep.unsqueeze(1)).to(embedding.dtype)
    count = member.sum(-1, keepdim=True)
    return (torch.bmm(member, embedding) - count * centres) / (1 + count)
