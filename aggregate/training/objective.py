"""The weighted sum of losses of stacked runs, each with its own weights and temperature."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from aggregate.losses.class_variance import class_variance
from aggregate.losses.cross_entropy import cross_entropy
from aggregate.losses.spec import LossSpec
from aggregate.losses.supcon import supcon


class Objective:
    """`sum_k weight_k loss_k` for each run; a term that no run weighs is not computed."""

    def __init__(self, losses: Sequence[LossSpec]) -> None:
        """Stack the runs' weights."""
        self.losses = list(losses)
        self.cross_entropy = _column([loss.cross_entropy.weight for loss in losses])
        self.supcon = _column([loss.supcon.weight for loss in losses])
        self.temperature = _column([loss.supcon.temperature for loss in losses])
        self.variance = _column([loss.class_variance.weight for loss in losses])
        # The sum over dimensions is the mean times their number, so one pass serves both reductions.
        self.summed = _column([float(loss.class_variance.reduction == "sum") for loss in losses])
        self.uses_supcon = bool(self.supcon.any())
        self.uses_variance = bool(self.variance.any())

    def __call__(
        self,
        logits: Float[Tensor, "run bag class"],
        embedding: Float[Tensor, "run bag feature"],
        y: Int[Tensor, "run bag"],
        valid: Bool[Tensor, "run bag"],
        weight: Float[Tensor, "run bag"],
    ) -> Float[Tensor, " run"]:
        """Losses of the first runs, as many as `logits` has."""
        n, dtype = len(logits), logits.dtype
        total = self.cross_entropy[:n].to(dtype) * cross_entropy(logits, y, valid, weight)
        if self.uses_supcon:
            temperature = self.temperature[:n].to(dtype)
            total = total + self.supcon[:n].to(dtype) * supcon(embedding, y, valid, temperature)
        if self.uses_variance:
            by = torch.where(self.summed[:n] > 0, float(embedding.shape[-1]), 1.0)
            term = class_variance(embedding, y, valid, "mean")
            total = total + (self.variance[:n] * by).to(dtype) * term
        return total

    @property
    def contrastive(self) -> bool:
        """Whether a term acts on the embeddings."""
        return self.uses_supcon or self.uses_variance

    def select(self, index: Int[Tensor, " run"]) -> "Objective":
        """Keep the runs at `index`."""
        return Objective([self.losses[place] for place in index.tolist()])


def _column(values: Sequence[float]) -> Float[Tensor, " run"]:
    """One number per run, in double precision until it is used."""
    return torch.tensor(values, dtype=torch.float64)
