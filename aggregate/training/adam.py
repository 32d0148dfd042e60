"""Adam for stacked runs: every run with its own learning rate, weight decay and step count.

Kingma & Ba 2015 with bias correction; weight decay is an L2 term of the gradient, as in
`torch.optim.Adam`, whose defaults (0.9, 0.999, 1e-8) it uses.
"""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8


class StackedAdam:
    """Moments of all runs; a step may concern only the first `n` of them."""

    def __init__(
        self,
        parameters: Mapping[str, Tensor],
        learning_rate: Sequence[float],
        weight_decay: Sequence[float],
    ) -> None:
        """Start at zero moments; one learning rate and weight decay per run."""
        self.parameters = dict(parameters)
        self.mean = {name: torch.zeros_like(value) for name, value in parameters.items()}
        self.square = {name: torch.zeros_like(value) for name, value in parameters.items()}
        self.learning_rate = torch.tensor(learning_rate, dtype=torch.float64)
        self.weight_decay = torch.tensor(weight_decay, dtype=torch.float64)
        self.steps = torch.zeros(len(learning_rate), dtype=torch.float64)

    @torch.no_grad()
    def step(self, gradients: Mapping[str, Tensor]) -> None:
        """Move the first n runs, where n is the gradients' leading axis; the others stay as they are."""
        n = len(next(iter(gradients.values())))
        self.steps[:n] += 1
        rate = self.learning_rate[:n] / (1 - BETA1 ** self.steps[:n])
        correction = (1 - BETA2 ** self.steps[:n]).sqrt()
        # The corrections move into the rate and epsilon, which saves a pass over the weights:
        # rate m / (sqrt(v)/c + eps) = rate c m / (sqrt(v) + c eps).
        scale, epsilon = -rate * correction, correction * EPSILON
        decay = self.weight_decay[:n] if bool(self.weight_decay[:n].any()) else None
        for name, gradient in gradients.items():
            value = self.parameters[name][:n]
            if decay is not None:
                gradient = gradient.addcmul(value, _like(decay, value))
            mean, square = self.mean[name][:n], self.square[name][:n]
            mean.lerp_(gradient, 1 - BETA1)
            square.mul_(BETA2).addcmul_(gradient, gradient, value=1 - BETA2)
            update = square.sqrt().add_(_like(epsilon, value)).reciprocal_().mul_(mean)
            value.addcmul_(update, _like(scale, value))

    def select(self, parameters: Mapping[str, Tensor], index: Int[Tensor, " run"]) -> None:
        """Keep the runs at `index`, whose weights now lie in `parameters`."""
        self.parameters = dict(parameters)
        self.mean = {name: value[index] for name, value in self.mean.items()}
        self.square = {name: value[index] for name, value in self.square.items()}
        self.learning_rate = self.learning_rate[index]
        self.weight_decay = self.weight_decay[index]
        self.steps = self.steps[index]


def _like(per_run: Float[Tensor, " run"], value: Tensor) -> Tensor:
    """One number per run in the weights' dtype, shaped to broadcast over them."""
    return per_run.to(value.dtype).view(-1, *[1] * (value.dim() - 1))
