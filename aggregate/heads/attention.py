"""DinoAtten3D's attention: `a = softmax(w . tanh(V h + b))` over kept slices, `z = sum a_i h_i`.

The published form has a bias under the softmax; it has no effect and is left out (arXiv 2509.12512,
after Ilse et al. 2018). The backward is written out: in training tokens need no gradient, and autograd
would keep twice the tensors for it.
"""

from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from pydantic import PositiveInt
from torch import Tensor

from aggregate.heads.base import Head, HeadBase, Parameters
from aggregate.heads.centring import scored
from aggregate.heads.embedding import Shapes, linear_shapes
from aggregate.heads.products import (
    project,
    project_gradient,
    projected_gradient,
    softmax_gradient,
    tanh_shifted_,
    weigh,
    weigh_gradient,
    weighed_gradient,
)


class AttentionSpec(HeadBase):
    """DinoAtten3D's head: a softmax over slices of `w . tanh(V h + b)`."""

    kind: Literal["attention"] = "attention"
    hidden: PositiveInt = 64
    """Width of the tanh layer."""

    def build(self, dim: int, n_classes: int) -> "AttentionHead":
        """Make the head for tokens of this dimension."""
        return AttentionHead(self, dim, n_classes, self.hidden)


class AttentionHead(Head):
    """One tanh layer scores the slices; the softmax of the scores weighs them."""

    def __init__(self, spec: HeadBase, dim: int, n_classes: int, hidden: int) -> None:
        """Fix the shapes."""
        super().__init__(spec, dim, n_classes)
        self.hidden = hidden

    @property
    def slice_width(self) -> int:
        """The tanh layer, and two gradients of its size."""
        return 3 * self.hidden

    def pool_shapes(self) -> Shapes:
        """`attention.project` is V and b, `attention.score.weight` is w."""
        score = {"attention.score.weight": (self.hidden,)}
        return linear_shapes("attention.project", self.dim, self.hidden) | score

    @property
    def starts_as_mean(self) -> bool:
        """With all scores 0."""
        return True

    def even(self, parameters: Parameters) -> dict[str, Tensor]:
        """Scores are 0."""
        return {
            **parameters,
            "attention.score.weight": torch.zeros_like(parameters["attention.score.weight"]),
        }

    def pool(
        self,
        parameters: Parameters,
        x: Float[Tensor, "bag slice dim"],
        keep: Bool[Tensor, "bag slice"],
        height_mm: Float[Tensor, "bag slice"],
    ) -> tuple[Float[Tensor, "#run bag dim"], Float[Tensor, "#run bag slice"]]:
        """Every run's own attention and the mean by it."""
        weight, bias, tokens = scored(
            parameters, parameters["attention.project.weight"], parameters["attention.project.bias"], x
        )
        output: tuple[Tensor, Tensor] = AttentionPool.apply(
            weight, bias, parameters["attention.score.weight"], tokens, x, keep
        )
        return output


class AttentionPool(torch.autograd.Function):
    """The pool with its backward written out; gradients reach V, b and w, and tokens where these ask."""

    @staticmethod
    def forward(
        ctx: Any,
        weight: Float[Tensor, "run hidden dim"],
        bias: Float[Tensor, "run hidden"],
        score: Float[Tensor, "run hidden"],
        tokens: Float[Tensor, "bag slice dim"],
        x: Float[Tensor, "bag slice dim"],
        keep: Bool[Tensor, "bag slice"],
    ) -> tuple[Float[Tensor, "run bag dim"], Float[Tensor, "run bag slice"]]:
        """Pooled vectors and attention of every run: `tokens` are scored, `x` is weighed."""
        hidden = tanh_shifted_(project(weight, tokens), bias)
        scores = torch.bmm(score.unsqueeze(1), hidden).view(len(weight), *keep.shape)
        attention = scores.masked_fill_(~keep, -torch.inf).softmax(-1)
        ctx.save_for_backward(weight, hidden, score, tokens, x, attention)
        return weigh(attention, x), attention

    @staticmethod
    def backward(
        ctx: Any,
        grad_pooled: Float[Tensor, "run bag dim"],
        grad_attention: Float[Tensor, "run bag slice"],
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None, Tensor | None, None]:
        """Chain rule through the weighted mean, the softmax, w, tanh and V."""
        weight, hidden, score, tokens, x, attention = ctx.saved_tensors
        through = weigh_gradient(grad_pooled, x).add_(grad_attention)
        flat = softmax_gradient(attention, through).flatten(1).unsqueeze(1)
        grad_score = torch.bmm(hidden, flat.transpose(1, 2)).squeeze(2)
        # g (1 - h^2) without w, which scales whole rows and so can wait until the slices are summed.
        rows = torch.ops.aten.tanh_backward(flat, hidden)
        grad_weight = project_gradient(rows, tokens).mul_(score.unsqueeze(2))
        grad_tokens = grad_x = None
        if ctx.needs_input_grad[3]:
            grad_tokens = projected_gradient(rows * score.unsqueeze(2), weight, len(x))
        if ctx.needs_input_grad[4]:
            grad_x = weighed_gradient(grad_pooled, attention)
        return grad_weight, rows.sum(2).mul_(score), grad_score, grad_tokens, grad_x, None
