"""Pooling by a score that is linear in the slice: `a = softmax(w . h)`, `z = sum a_i h_i`.

The backward is written out: in training tokens need no gradient, and get one only where somebody asks.
Several scores of a run stand side by side as so many rows, so that one product serves all runs and all
scores.
"""

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from aggregate.heads.products import (
    project,
    project_gradient,
    projected_gradient,
    softmax_gradient,
    weigh,
    weigh_gradient,
    weighed_gradient,
)


class ScorePool(torch.autograd.Function):
    """Every row of weights pools every bag."""

    @staticmethod
    def forward(
        ctx: Any,
        weight: Float[Tensor, "row dim"],
        x: Float[Tensor, "bag slice dim"],
        keep: Bool[Tensor, "bag slice"],
    ) -> tuple[Float[Tensor, "row bag dim"], Float[Tensor, "row bag slice"], Float[Tensor, "row bag"]]:
        """Pooled vectors, attention, and log sum exp of the scores of kept slices."""
        scores = project(weight.unsqueeze(0), x).view(len(weight), *keep.shape)
        log_sum = scores.masked_fill_(~keep, -torch.inf).logsumexp(-1)
        attention = scores.sub_(log_sum.unsqueeze(-1)).exp_()
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(weight, x, attention)
        return weigh(attention, x), attention, log_sum

    @staticmethod
    def backward(
        ctx: Any,
        grad_pooled: Float[Tensor, "row bag dim"] | None,
        grad_attention: Float[Tensor, "row bag slice"] | None,
        grad_log_sum: Float[Tensor, "row bag"] | None,
    ) -> tuple[Tensor, Tensor | None, None]:
        """Chain rule through the weighted mean, the softmax and w; to the tokens where they ask."""
        weight, x, attention = ctx.saved_tensors
        through = torch.zeros_like(attention) if grad_pooled is None else weigh_gradient(grad_pooled, x)
        if grad_attention is not None:
            through = through + grad_attention
        scores = softmax_gradient(attention, through)
        if grad_log_sum is not None:
            scores = scores.addcmul_(attention, grad_log_sum.unsqueeze(-1))
        rows, grad_x = scores.flatten(1).unsqueeze(0), None
        if ctx.needs_input_grad[1]:
            grad_x = projected_gradient(rows, weight.unsqueeze(0), len(x))
            if grad_pooled is not None:
                grad_x = grad_x + weighed_gradient(grad_pooled, attention)
        return project_gradient(rows, x)[0], grad_x, None
