"""Heads whose pooled vectors are no mixtures of tokens: they centre what they read, not what they give."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from aggregate.heads.base import Head, Parameters
from aggregate.heads.embedding import ReadOut, read_out


class OwnSpaceHead(Head):
    """A head that makes other vectors of the tokens before it pools them."""

    def read_out(self, parameters: Parameters, pooled: Float[Tensor, "#run bag pooled"]) -> ReadOut:
        """Pooled vectors as they are."""
        return read_out(parameters, pooled, len(self.spec.embedding))

    def pooled_gradient(
        self, parameters: Parameters, gradient: Float[Tensor, "run bag pooled"]
    ) -> Float[Tensor, "run bag pooled"]:
        """Nothing lies between."""
        return gradient


def attend(
    scores: Float[Tensor, "run bag slice"],
    vectors: Float[Tensor, "run bag slice width"],
    keep: Bool[Tensor, "bag slice"],
) -> tuple[Float[Tensor, "run bag width"], Float[Tensor, "run bag slice"]]:
    """`a = softmax(e)` over kept slices and `sum a_i v_i`, for vectors that each run has made itself."""
    attention = scores.masked_fill(~keep, -torch.inf).softmax(-1)
    return torch.matmul(attention.unsqueeze(2), vectors).squeeze(2), attention
