"""AdamW for stacked runs: weights shrink by themselves, and the decay is no part of the gradient.

Loshchilov & Hutter 2019, in the order of `torch.optim.AdamW`: first `w <- (1 - rate * decay) w`, then the
step of Adam without decay. What an optimiser gets shrinks whether a batch has a gradient for it or not.
"""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from aggregate.training.steps.adam import StackedAdam


class StackedAdamW(StackedAdam):
    """As `StackedAdam`, with decoupled weight decay."""

    def __init__(
        self,
        parameters: Mapping[str, Tensor],
        learning_rate: Sequence[float],
        weight_decay: Sequence[float],
        total_steps: Sequence[int | None] | None = None,
        epsilon: Sequence[float] | None = None,
    ) -> None:
        """As `StackedAdam` takes them."""
        super().__init__(parameters, learning_rate, [0.0] * len(weight_decay), total_steps, epsilon)
        self.decay = list(weight_decay)

    @torch.no_grad()
    def step(self, gradients: Mapping[str, Tensor]) -> None:
        """Shrink and move the first n runs, where n is the gradients' leading axis."""
        n = len(next(iter(gradients.values())))
        left = [1 - rate * decay for rate, decay in zip(self.rates(n), self.decay[:n], strict=True)]
        for name in gradients:
            own = self.parameters[name][:n]
            own *= torch.tensor(left, dtype=own.dtype, device=own.device).view(-1, *[1] * (own.ndim - 1))
        super().step(gradients)

    def select(self, parameters: Mapping[str, Tensor], index: Int[Tensor, " run"]) -> None:
        """Keep the runs at `index`, whose weights now lie in `parameters`."""
        super().select(parameters, index)
        self.decay = [self.decay[place] for place in index.tolist()]
