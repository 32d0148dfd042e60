"""Cross entropy of the logits, weighted by bag."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def cross_entropy(
    logits: Float[Tensor, "run bag class"],
    y: Int[Tensor, "#run bag"],
    valid: Bool[Tensor, "#run bag"],
    weight: Float[Tensor, "#run bag"] | None = None,
) -> Float[Tensor, " run"]:
    """`sum_i w_i (-log softmax(logits_i)[y_i]) / sum_i w_i` over valid bags; without weights, their mean.

    A run without a valid bag gives 0.
    """
    weighted = valid.to(logits.dtype) if weight is None else valid * weight
    weighted = weighted.expand(len(logits), -1)
    index = y.expand(len(logits), -1).unsqueeze(2)
    loss = -torch.log_softmax(logits, -1).gather(2, index).squeeze(2)
    return (loss * weighted).sum(1) / weighted.sum(1).clamp_min(torch.finfo(logits.dtype).tiny)
