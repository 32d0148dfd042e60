"""Adam for stacked runs: every run with its own learning rate, weight decay and step count.

Kingma & Ba 2015 with bias correction, by torch's fused kernel: one pass over weights, moments and
gradients, which is what the memory allows. Runs side by side whose rate, decay and count are equal go
through it together.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import groupby

import torch
from jaxtyping import Int
from torch import Tensor
from torch.optim.adam import adam

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8
WARM = 10
"""One step in so many belongs to the rise of a rate."""


def rate_at(step: int, rate: float, steps: int | None) -> float:
    """The rate of a step, counted from 0, of so many; None keeps it constant.

    It rises in a straight line over the first tenth and falls to zero by half a cosine (Loshchilov & Hutter
    2017, without restarts).
    """
    if steps is None:
        return rate
    rise = min(1.0, (step + 1) / max(1, steps // WARM))
    return rate * rise * 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps)))


class StackedAdam:
    """Moments of all runs; a step may concern only the first `n` of them."""

    def __init__(
        self,
        parameters: Mapping[str, Tensor],
        learning_rate: Sequence[float],
        weight_decay: Sequence[float],
        total_steps: Sequence[int | None] | None = None,
    ) -> None:
        """Start at zero moments; one learning rate and weight decay per run.

        `total_steps` is over how many steps the rate of a run rises and falls; None keeps it constant.
        """
        self.parameters = dict(parameters)
        self.mean = {name: torch.zeros_like(value) for name, value in parameters.items()}
        self.square = {name: torch.zeros_like(value) for name, value in parameters.items()}
        self.learning_rate = list(learning_rate)
        self.weight_decay = list(weight_decay)
        self.total_steps = [None] * len(self.learning_rate) if total_steps is None else list(total_steps)
        self.steps = [0] * len(self.learning_rate)

    def rates(self, n: int) -> list[float]:
        """What the next step of the first n runs is taken with."""
        return list(map(rate_at, self.steps[:n], self.learning_rate[:n], self.total_steps[:n]))

    @torch.no_grad()
    def step(self, gradients: Mapping[str, Tensor]) -> None:
        """Move the first n runs, where n is the gradients' leading axis; the others stay as they are."""
        n = len(next(iter(gradients.values())))
        alike = list(zip(self.rates(n), self.weight_decay[:n], self.steps[:n], strict=True))
        start = 0
        for (rate, decay, steps), group in groupby(alike):
            end = start + len(list(group))
            self._move(slice(start, end), gradients, rate, decay, steps)
            start = end
        self.steps[:n] = [steps + 1 for steps in self.steps[:n]]

    def _move(
        self, runs: slice, gradients: Mapping[str, Tensor], rate: float, decay: float, steps: int
    ) -> None:
        """One step of neighbours that are alike."""
        adam(
            [self.parameters[name][runs] for name in gradients],
            # The kernel reads memory in order, whatever the strides say.
            [gradient[runs].contiguous() for gradient in gradients.values()],
            [self.mean[name][runs] for name in gradients],
            [self.square[name][runs] for name in gradients],
            [],
            [torch.tensor(float(steps), device=gradient.device) for gradient in gradients.values()],
            fused=True,
            amsgrad=False,
            beta1=BETA1,
            beta2=BETA2,
            lr=rate,
            weight_decay=decay,
            eps=EPSILON,
            maximize=False,
        )

    def select(self, parameters: Mapping[str, Tensor], index: Int[Tensor, " run"]) -> None:
        """Keep the runs at `index`, whose weights now lie in `parameters`."""
        self.parameters = dict(parameters)
        self.mean = {name: value[index] for name, value in self.mean.items()}
        self.square = {name: value[index] for name, value in self.square.items()}
        places = index.tolist()
        self.learning_rate = [self.learning_rate[place] for place in places]
        self.weight_decay = [self.weight_decay[place] for place in places]
        self.total_steps = [self.total_steps[place] for place in places]
        self.steps = [self.steps[place] for place in places]
