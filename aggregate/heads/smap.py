"""Smooth attention: slices are scored after each was mixed with its neighbours, step by step.

`g <- (1 - alpha) h + alpha A g` ten times from `g = h`, then `a = softmax(w . tanh(V g + b))` and
`z = sum a_i h_i`: SmAP of Castro-Macías et al. 2024 (arXiv 2410.03276), whose Sm operator smooths what
attention is computed from. There A is the normalised adjacency of an image's patches; here it is the mean of
a slice's upper and lower neighbour among the kept ones, and a slice without any stays as it is. Their alpha
is 0.5 or learned, ours is an option. The steps are linear in h and alike for all runs: one matrix a bag.
"""

from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float
from pydantic import Field, PositiveInt
from torch import Tensor

from aggregate.heads.attention import AttentionHead, AttentionPool
from aggregate.heads.base import HeadBase, Parameters
from aggregate.heads.centring import scored
from aggregate.heads.order import Descent


class SmapSpec(HeadBase):
    """Attention by scores of slices that are smoothed along the height."""

    words: ClassVar[str] = "smooth attention"
    kind: Literal["smap"] = "smap"
    hidden: PositiveInt = 64
    """Width of the tanh layer."""
    alpha: float = Field(default=0.5, ge=0, lt=1)
    """Share of the neighbours in each step; 0 is attention without smoothing."""
    steps: int = Field(default=10, ge=1, le=1000)
    """Of smoothing, each by the slices above and below."""

    def build(self, dim: int, n_classes: int) -> "SmapHead":
        """Make the head for tokens of this dimension."""
        return SmapHead(self, dim, n_classes)


class SmapHead(AttentionHead):
    """The attention head, scoring smoothed slices and weighing them as they are."""

    def __init__(self, spec: SmapSpec, dim: int, n_classes: int) -> None:
        """Fix the shapes."""
        super().__init__(spec, dim, n_classes, spec.hidden)
        self.alpha, self.steps = spec.alpha, spec.steps

    def pool(
        self,
        parameters: Parameters,
        x: Float[Tensor, "bag slice dim"],
        keep: Bool[Tensor, "bag slice"],
        height_mm: Float[Tensor, "bag slice"],
    ) -> tuple[Float[Tensor, "#run bag dim"], Float[Tensor, "#run bag slice"]]:
        """Every run's own attention and the mean by it.

        The smoothing's rows sum to 1, so smoothed tokens are centred as tokens are.
        """
        project = (parameters["attention.project.weight"], parameters["attention.project.bias"])
        smooth = smoothing(keep, Descent.of(keep, height_mm), self.alpha, self.steps, x.dtype)
        weight, bias, tokens = scored(parameters, *project, torch.bmm(smooth, x))
        output: tuple[Tensor, Tensor] = AttentionPool.apply(
            weight, bias, parameters["attention.score.weight"], tokens, x, keep
        )
        return output


def smoothing(
    keep: Bool[Tensor, "bag slice"], order: Descent, alpha: float, steps: int, dtype: torch.dtype
) -> Float[Tensor, "bag slice other"]:
    """What the steps make of the kept slices, as a matrix; 0 at pads."""
    ranks = order.ranks
    apart = (ranks.unsqueeze(2) - ranks.unsqueeze(1)).abs()
    both = keep.unsqueeze(2) & keep.unsqueeze(1)
    alone = (keep.sum(1) == 1).view(-1, 1, 1)
    near = (both & torch.where(alone, apart == 0, apart == 1)).to(dtype)
    average = near / near.sum(2, keepdim=True).clamp_min(1)
    itself = (both & (apart == 0)).to(dtype)
    found = itself
    for _ in range(steps):
        found = (1 - alpha) * itself + alpha * torch.bmm(average, found)
    return found
