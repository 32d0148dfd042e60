"""The mean over kept slices: the bar that every other head has to clear."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from aggregate.heads.base import Head, Parameters
from aggregate.heads.embedding import Shapes


class MeanHead(Head):
    """`z = mean of kept h_i`; nothing to learn before the embedding."""

    permutation_invariant = True

    def pool_shapes(self) -> Shapes:
        """The pool has no parameter."""
        return {}

    def pool(
        self,
        parameters: Parameters,
        x: Float[Tensor, "#run bag slice dim"],
        keep: Bool[Tensor, "#run bag slice"],
        height_mm: Float[Tensor, "#run bag slice"],
    ) -> tuple[Float[Tensor, "#run bag dim"], Float[Tensor, "#run bag slice"]]:
        """Uniform attention over kept slices and the mean by it."""
        attention = keep.to(x.dtype) / keep.sum(-1, keepdim=True)
        return torch.matmul(attention.unsqueeze(2), x).squeeze(2), attention
