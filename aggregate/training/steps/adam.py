"""Adam for stacked runs: every run with its own learning rate, weight decay and step count.

Kingma & Ba 2015 with bias correction, by torch's fused kernel: one pass over weights, moments and
gradients, which is what the memory allows. Runs side by side whose rate, decay and count are equal go
through it together.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor
from torch.optim.adam import adam

BETA1, BETA2 = 0.9, 0.999
EPSILON = 1e-8
"""What is added to the size of a gradient before it divides, where nothing else is said."""
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


class Step(NamedTuple):
    """What neighbours that are alike take their next step with."""

    rate: float
    decay: float
    epsilon: float
    taken: int
    """Steps before it."""


class StackedAdam:
    """Moments of all runs; a step may concern only the first `n` of them."""

    def __init__(
        self,
        parameters: Mapping[str, Tensor],
        learning_rate: Sequence[float],
        weight_decay: Sequence[float],
        total_steps: Sequence[int | None] | None = None,
        epsilon: Sequence[float] | None = None,
    ) -> None:
        """Start at zero moments; one learning rate and weight decay per run.

        `total_steps` is over how many steps the rate of a run rises and falls; None keeps it constant.
        `epsilon` is `EPSILON` for all where None.
        """
        self.parameters = dict(parameters)
        self.mean = {name: torch.zeros_like(value) for name, value in parameters.items()}
        self.square = {name: self.one_square(value) for name, value in parameters.items()}
        self.learning_rate = list(learning_rate)
        self.weight_decay = list(weight_decay)
        self.total_steps = [None] * len(self.learning_rate) if total_steps is None else list(total_steps)
        self.epsilon = [EPSILON] * len(self.learning_rate) if epsilon is None else list(epsilon)
        self.steps = [0] * len(self.learning_rate)

    def one_square(self, parameter: Tensor) -> Tensor:
        """The second moments of a tensor (run, ...), at 0."""
        return torch.zeros_like(parameter)

    def rates(self, n: int) -> list[float]:
        """What the next step of the first n runs is taken with."""
        return list(map(rate_at, self.steps[:n], self.learning_rate[:n], self.total_steps[:n]))

    @torch.no_grad()
    def step(self, gradients: Mapping[str, Tensor]) -> None:
        """Move the first n runs, where n is the gradients' leading axis; the others stay as they are."""
        n = len(next(iter(gradients.values())))
        own = (self.rates(n), self.weight_decay[:n], self.epsilon[:n], self.steps[:n])
        start = 0
        for step, group in groupby(map(Step, *own)):
            end = start + len(list(group))
            self._move(slice(start, end), gradients, step)
            start = end
        self.steps[:n] = [steps + 1 for steps in self.steps[:n]]

    def _move(self, runs: slice, gradients: Mapping[str, Tensor], step: Step) -> None:
        """One step of neighbours that are alike."""
        adam(
            [self.parameters[name][runs] for name in gradients],
            # The kernel reads memory in order, whatever the strides say.
            [gradient[runs].contiguous() for gradient in gradients.values()],
            [self.mean[name][runs] for name in gradients],
            [self.square[name][runs] for name in gradients],
            [],
            [torch.tensor(float(step.taken), device=gradient.device) for gradient in gradients.values()],
            fused=True,
            amsgrad=False,
            beta1=BETA1,
            beta2=BETA2,
            lr=step.rate,
            weight_decay=step.decay,
            eps=step.epsilon,
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
        self.epsilon = [self.epsilon[place] for place in places]
        self.steps = [self.steps[place] for place in places]
