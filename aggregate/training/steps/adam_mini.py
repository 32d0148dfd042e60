"""Adam with one second moment for each tensor in place of one for each number (Adam-mini).

Zhang et al. 2024 (arXiv 2406.16793), a block being a whole tensor of one run. Adam divides every number's
gradient by its own size, so that directions that a small cohort says nothing of, and rounding itself, move a
weight as far as what it does say something of. Divided by the size of the tensor's they stay small:
`docs/which-head.md` has both beside each other. The same holds of whole tensors, hence an `epsilon` that is
worth something: where attention has nothing to gain, its gradient is a hundredth of that and it hardly moves.
"""

from collections.abc import Mapping
from functools import cached_property

import torch
from torch import Tensor

from aggregate.training.steps.adam import BETA1, BETA2, StackedAdam, Step


class StackedAdamMini(StackedAdam):
    """As `StackedAdam`; `square` holds `(run,)`, the mean square of a tensor's gradients."""

    def one_square(self, parameter: Tensor) -> Tensor:
        """One number for each run."""
        return parameter.new_zeros(len(parameter))

    @cached_property
    def _memory(self) -> dict[str, Tensor]:
        """Of gradient and decay of a step: fresh memory of that size costs more than the sums."""
        return {name: torch.empty_like(value) for name, value in self.parameters.items()}

    def _move(self, runs: slice, gradients: Mapping[str, Tensor], step: Step) -> None:
        """One step of neighbours that are alike."""
        of_mean, of_square = (1 - beta ** (step.taken + 1) for beta in (BETA1, BETA2))
        for name, gradient in gradients.items():
            own, mean, square = self.parameters[name][runs], self.mean[name][runs], self.square[name][runs]
            memory = self._memory[name][: len(self.parameters[name])][runs]
            whole = torch.add(gradient[runs], own, alpha=step.decay, out=memory)
            flat = whole.view(len(whole), -1)
            size = torch.linalg.vector_norm(flat, dim=1).square_().div_(flat.shape[1])
            square.lerp_(size, 1 - BETA2)
            mean.lerp_(whole, 1 - BETA1)
            length = (square / of_square).sqrt_().add_(step.epsilon).reciprocal_().mul_(-step.rate / of_mean)
            own.addcmul_(mean, length.view(-1, *[1] * (own.ndim - 1)))
