"""Adam with one second moment for each tensor in place of one for each number (Adam-mini).

Zhang et al. 2024 (arXiv 2406.16793), a block being a whole tensor of one run. Adam divides every number's
gradient by its own size, so that directions that a small cohort says nothing of, and rounding itself, move a
weight as far as what it does say something of. Divided by the size of the tensor's they stay small:
`docs/which-head.md` has both beside each other.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from aggregate.training.steps.adam import BETA1, BETA2, EPSILON, StackedAdam


class StackedAdamMini(StackedAdam):
    """As `StackedAdam`; `square` holds `(run,)`, the mean square of a tensor's gradients."""

    def __init__(
        self,
        parameters: Mapping[str, Tensor],
        learning_rate: Sequence[float],
        weight_decay: Sequence[float],
        total_steps: Sequence[int | None] | None = None,
    ) -> None:
        """As `StackedAdam` takes them."""
        super().__init__(parameters, learning_rate, weight_decay, total_steps)
        self.square = {name: value.new_zeros(len(value)) for name, value in parameters.items()}
        self._memory = {name: torch.empty_like(value) for name, value in parameters.items()}
        """Gradient and decay of a step: fresh memory of that size costs more than the sums."""

    def _move(
        self, runs: slice, gradients: Mapping[str, Tensor], rate: float, decay: float, steps: int
    ) -> None:
        """One step of neighbours that are alike."""
        of_mean, of_square = (1 - beta ** (steps + 1) for beta in (BETA1, BETA2))
        for name, gradient in gradients.items():
            own, mean, square = self.parameters[name][runs], self.mean[name][runs], self.square[name][runs]
            memory = self._memory[name][: len(self.parameters[name])][runs]
            whole = torch.add(gradient[runs], own, alpha=decay, out=memory)
            flat = whole.view(len(whole), -1)
            size = torch.linalg.vector_norm(flat, dim=1).square_().div_(flat.shape[1])
            square.lerp_(size, 1 - BETA2)
            mean.lerp_(whole, 1 - BETA1)
            length = (square / of_square).sqrt_().add_(EPSILON).reciprocal_().mul_(-rate / of_mean)
            own.addcmul_(mean, length.view(-1, *[1] * (own.ndim - 1)))
