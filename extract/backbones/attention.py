"""Attention of one block: the fused kernel, or plain products where those are faster."""

import torch
from torch import Tensor
from torch.nn import functional


def attend(query: Tensor, key: Tensor, value: Tensor, plain: bool) -> Tensor:
    """Scaled dot-product attention `(slice, head, token, head_dim)` -> `(slice, token, dim)`.

    `plain` takes two batched products and a softmax: in bfloat16 on a CPU they take about 0.6 of the
    fused kernel's time (see benchmarks/README.md); on a GPU the fused kernel wins.
    """
    slices, heads, tokens, width = query.shape
    if plain:
        flat = (slices * heads, tokens, width)
        scores = torch.bmm(query.reshape(flat) * width**-0.5, key.reshape(flat).transpose(1, 2))
        mixed = torch.bmm(functional.softmax(scores, dim=-1), value.reshape(flat))
        mixed = mixed.view(slices, heads, tokens, width)
    else:
        mixed = functional.scaled_dot_product_attention(query, key, value)
    return mixed.transpose(1, 2).reshape(slices, tokens, heads * width)


def cls_attention(query: Tensor, key: Tensor, grid: tuple[int, int]) -> Tensor:
    """The CLS row of the softmax over all tokens, at the patches: `(slice, head, row, col)`, float32.

    Only the first row of the scores is computed. CLS and registers take their share of the softmax and
    are left out of the result, so that a head's map sums to less than 1.
    """
    scores = query[:, :, :1].float() @ key.float().transpose(2, 3) * query.shape[-1] ** -0.5
    weights = functional.softmax(scores[:, :, 0], dim=-1)
    rows, cols = grid
    return weights[:, :, -rows * cols :].unflatten(2, grid)
