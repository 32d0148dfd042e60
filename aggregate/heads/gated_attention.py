"""Gated attention: `a = softmax(w . (tanh(V h + b) * sigmoid(U h + c)))`, `z = sum a_i h_i`.

Ilse et al. 2018 (arXiv 1802.04712), equation 9. V and U are one parameter, V above U, so that one
product serves both. The backward is written out: in training tokens need no gradient.
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


class GatedAttentionSpec(HeadBase):
    """A softmax over slices of `w . (tanh(V h + b) * sigmoid(U h + c))` (Ilse et al. 2018)."""

    kind: Literal["gated_attention"] = "gated_attention"
    hidden: PositiveInt = 64
    """Width of the tanh layer and of its gate."""

    def build(self, dim: int, n_classes: int) -> "GatedAttentionHead":
        """Make the head for tokens of this dimension."""
        return GatedAttentionHead(self, dim, n_classes)


class GatedAttentionHead(Head):
    """A tanh layer, gated by a sigmoid layer, scores the slices."""

    def __init__(self, spec: GatedAttentionSpec, dim: int, n_classes: int) -> None:
        """Fix the shapes."""
        super().__init__(spec, dim, n_classes)
        self.hidden = spec.hidden

    @property
    def slice_width(self) -> int:
        """Both layers, their product, and the gradients of these."""
        return 8 * self.hidden

    def pool_shapes(self) -> Shapes:
        """`attention.project` is V and b above U and c, `attention.score.weight` is w."""
        score = {"attention.score.weight": (self.hidden,)}
        return linear_shapes("attention.project", self.dim, 2 * self.hidden) | score

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
        output: tuple[Tensor, Tensor] = GatedAttentionPool.apply(
            weight, bias, parameters["attention.score.weight"], tokens, x, keep
        )
        return output


class GatedAttentionPool(torch.autograd.Function):
    """The pool, its backward written out; gradients reach V, U, b, c and w, and tokens where these ask."""

    @staticmethod
    def forward(
        ctx: Any,
        weight: Float[Tensor, "run both dim"],
        bias: Float[Tensor, "run both"],
        score: Float[Tensor, "run hidden"],
        tokens: Float[Tensor, "bag slice dim"],
        x: Float[Tensor, "bag slice dim"],
        keep: Bool[Tensor, "bag slice"],
    ) -> tuple[Float[Tensor, "run bag dim"], Float[Tensor, "run bag slice"]]:
        """Pooled vectors and attention of every run: `tokens` are scored, `x` is weighed."""
        both = project(weight, tokens)
        (value, gate), (shift, gate_shift) = both.chunk(2, 1), bias.chunk(2, 1)
        gated = tanh_shifted_(value, shift) * gate.add_(gate_shift.unsqueeze(2)).sigmoid_()
        scores = torch.bmm(score.unsqueeze(1), gated).view(len(weight), *keep.shape)
        attention = scores.masked_fill_(~keep, -torch.inf).softmax(-1)
        ctx.save_for_backward(weight, both, gated, score, tokens, x, attention)
        return weigh(attention, x), attention

    @staticmethod
    def backward(
        ctx: Any,
        grad_pooled: Float[Tensor, "run bag dim"],
        grad_attention: Float[Tensor, "run bag slice"],
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None, Tensor | None, None]:
        """Chain rule through the weighted mean, the softmax, w, tanh, sigmoid, V and U."""
        weight, both, gated, score, tokens, x, attention = ctx.saved_tensors
        value, gate = both.chunk(2, 1)
        through = weigh_gradient(grad_pooled, x).add_(grad_attention)
        flat = softmax_gradient(attention, through).flatten(1).unsqueeze(1)
        grad_score = torch.bmm(gated, flat.transpose(1, 2)).squeeze(2)
        # Without w, which scales whole rows and so can wait until the slices are summed.
        rows = torch.empty_like(both)
        value_rows, gate_rows = rows.chunk(2, 1)
        torch.mul(flat, value, out=gate_rows)
        torch.ops.aten.sigmoid_backward.grad_input(gate_rows, gate, grad_input=gate_rows)
        torch.mul(flat, gate, out=value_rows)
        torch.ops.aten.tanh_backward.grad_input(value_rows, value, grad_input=value_rows)
        twice = torch.cat([score, score], 1)
        grad_weight = project_gradient(rows, tokens).mul_(twice.unsqueeze(2))
        grad_tokens = grad_x = None
        if ctx.needs_input_grad[3]:
            grad_tokens = projected_gradient(rows * twice.unsqueeze(2), weight, len(x))
        if ctx.needs_input_grad[4]:
            grad_x = weighed_gradient(grad_pooled, attention)
        return grad_weight, rows.sum(2).mul_(twice), grad_score, grad_tokens, grad_x, None
