"""Class variance: how far unit embeddings scatter about the mean of their label (arXiv 2509.12512)."""

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def class_variance(
    embedding: Float[Tensor, "run bag feature"],
    y: Int[Tensor, "#run bag"],
    valid: Bool[Tensor, "#run bag"],
    reduction: Literal["mean", "sum"] = "mean",
) -> Float[Tensor, " run"]:
    """`(1/C) sum_{c: n_c > 1} mean_{i in c} reduction_d (u_id - mean_c,d)^2` over valid bags.

    C counts every label of the batch, also those with one bag.
    """
    unit = torch.nn.functional.normalize(embedding, dim=-1)
    same = (y.unsqueeze(1) == y.unsqueeze(2)) & valid.unsqueeze(1) & valid.unsqueeze(2)
    count = same.sum(-1)
    share = same.to(unit.dtype) / count.clamp_min(1).unsqueeze(-1)
    centre = torch.matmul(share, unit)
    squares = (unit - centre).square()
    spread = squares.sum(-1) if reduction == "sum" else squares.mean(-1)
    # Each bag counts 1/n_c, so that the sum over bags is the sum over labels of the mean within.
    per_bag = valid / count.clamp_min(1).to(unit.dtype)
    return (spread * per_bag * (count > 1)).sum(-1) / per_bag.sum(-1).clamp_min(1)
