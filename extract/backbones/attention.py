"""Attention of one block, and the CLS row of its weights, which the fused kernel does not give."""

from torch import Tensor
from torch.nn import functional


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Scaled dot-product attention `(slice, head, token, head_dim)` -> `(slice, token, dim)`.

    The fused kernel: two plain products and a softmax, which won on CPUs with an older torch, are level
    at 8 slices and slower at 16 now (bfloat16, AMX, torch 2.13), and need memory for all scores.
    """
    return functional.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)


def cls_attention(query: Tensor, key: Tensor, grid: tuple[int, int], scaling: float | None = None) -> Tensor:
    """The CLS row of the softmax over all tokens, at the patches: `(slice, head, row, col)`, float32.

    Only the first row of the scores is computed. CLS and registers take their share of the softmax and
    are left out of the result, so that a head's map sums to less than 1. Scores are scaled by the root of
    the heads' length where nothing else is said.
    """
    # Multiplied and summed: a batched product of single rows gives a slice other last bits at another place
    # in the batch (6 heads of 64, measured on AVX-512 and AVX2), and the content digest with them.
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    scores = (query[:, :, :1].float() * key.float()).sum(-1) * scale
    weights = functional.softmax(scores, dim=-1)
    rows, cols = grid
    return weights[:, :, -rows * cols :].unflatten(2, grid)
