"""AdamW by torch's own function: its class brings torch's compiler, two seconds of import for nothing."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.optim.adamw import adamw

MOMENTS = ("step", "exp_avg", "exp_avg_sq")
"""What is kept of each parameter, as torch's class calls it."""


class AdamW:
    """With torch's defaults but for the rate: the same bits as `torch.optim.AdamW` on a CPU."""

    def __init__(self, parameters: Sequence[Tensor], learning_rate: float) -> None:
        """Start without moments.

        Args:
            parameters: Leaves that gather gradients.
            learning_rate: Of every step.
        """
        self.parameters, self.learning_rate = list(parameters), learning_rate
        self.state: dict[Tensor, dict[str, Tensor]] = {}
        """By parameter; empty before the first step."""

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for value in self.parameters:
            value.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Move what has a gradient."""
        moved = [(value, value.grad) for value in self.parameters if value.grad is not None]
        for value, _ in moved:
            if value not in self.state:
                zeros = (torch.zeros_like(value, memory_format=torch.preserve_format) for _ in range(2))
                self.state[value] = dict(zip(MOMENTS, (torch.tensor(0.0), *zeros), strict=True))
        steps, means, squares = ([self.state[value][part] for value, _ in moved] for part in MOMENTS)
        adamw(
            [value for value, _ in moved],
            [gradient for _, gradient in moved],
            means,
            squares,
            [],
            steps,
            foreach=False,
            amsgrad=False,
            beta1=0.9,
            beta2=0.999,
            lr=self.learning_rate,
            weight_decay=1e-2,
            eps=1e-8,
            maximize=False,
        )
