"""Where heads start: at the L2-logistic solution on what they pool at first (`train: {start: baseline}`).

A head's pooled vectors are standardised, number by number, on the run's own training bags, and its
classifier starts at the solution of `solving/` on them. So a head that pools evenly starts as mean pooling +
logistic regression, and what training adds is its own doing.

The penalty of that solution is not kept while training goes on: under it the classifier cannot grow, and
attention learns the training bags by heart in its place (`docs/which-head.md` has the measurement).

Training moves the classifier of standardised vectors, in which every number has the same size; what is kept
and stored is the same classifier of the vectors as they are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from aggregate.cohort.people import people_of
from aggregate.common.arrays import Floats, Ints
from aggregate.heads.base import Head
from aggregate.heads.centring import MEAN, SCALE
from aggregate.training.feeding.inputs import Inputs
from aggregate.training.runs import RunSpec
from aggregate.training.solving.goal import Goal, Unit
from aggregate.training.solving.logistic import Solution

WEIGHT, BIAS = "classifier.weight", "classifier.bias"
POOLED_AT_ONCE = 64
"""Bags of a run that are pooled in one go to solve it."""


@dataclass(frozen=True, slots=True)
class Standard:
    """How every run's pooled vectors are standardised."""

    mean: Float[Tensor, "run pooled"]
    scale: Float[Tensor, "run pooled"]
    """0 for a number that does not vary."""

    def folded(self, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The parameters of the first runs with the classifier of vectors as they are."""
        n = len(parameters[WEIGHT])
        weight = parameters[WEIGHT] * self.scale[:n, None]
        bias = parameters[BIAS] - torch.bmm(weight, self.mean[:n, :, None]).squeeze(2)
        return {**parameters, WEIGHT: weight, BIAS: bias}

    def unfold_gradients(self, gradients: Mapping[str, Tensor]) -> None:
        """Turn the gradients of the folded classifier of the first runs into those of the trained one."""
        own = gradients[WEIGHT]
        n = len(own)
        own -= gradients[BIAS].unsqueeze(2) * self.mean[:n, None]
        own *= self.scale[:n, None]

    def select(self, index: Int[Tensor, " run"]) -> "Standard":
        """Keep the runs at `index`."""
        return Standard(self.mean[index], self.scale[index])

    def span(self, runs: slice) -> "Standard":
        """Neighbouring runs."""
        return Standard(self.mean[runs], self.scale[runs])


@dataclass(frozen=True, slots=True)
class Labelled:
    """What a solution is of beside the vectors."""

    y: NDArray[Any]
    """Outcomes (bag,), or (bag, number)."""
    weight: Floats
    """(bag,)"""
    group: Ints
    """Participant of every bag (bag,)."""
    goal: Goal
    strata: Ints
    """What inner folds are dealt by (bag,)."""

    def solve(self, x: Floats, rows: Ints) -> Solution:
        """The solution on these bags, whose vectors are given."""
        people = people_of([str(name) for name in self.group[rows]], self.strata[rows])
        return self.goal.solve(x, self.y[rows], self.weight[rows], people.of_bag, people.y)


@torch.no_grad()
def start_at_baseline(
    head: Head,
    parameters: dict[str, Tensor],
    inputs: Inputs,
    runs: Sequence[RunSpec],
    labelled: Labelled,
    means: Floats,
    unit: Unit | None = None,
) -> Standard:
    """Solve every run's start and put it into its parameters.

    Args:
        head: Of all runs.
        parameters: As they were drawn and made even; the classifier's are replaced.
        inputs: Give pooled vectors.
        runs: In the order of the parameters.
        labelled: Labels, weights and participants of the bags.
        means: Mean over kept slices of every bag (bag, dim), as it is stored. Heads that pool so at first
            are solved on it, so that equal starts are solved once whatever the head.
        unit: Of every run's outcomes.
    """
    found = []
    for index, run in enumerate(runs):
        rows, own = run.train_rows, {name: value[index : index + 1] for name, value in parameters.items()}
        if head.starts_as_mean:
            found.append(_as_read(own, labelled.solve(means[rows], rows)))
        else:
            place = slice(index, index + 1)
            found.append(labelled.solve(_pooled(head, own, inputs, place, rows), rows))
    like = parameters[WEIGHT]
    parameters[WEIGHT] = _stack([s.weight for s in found], like)
    parameters[BIAS] = _stack([s.bias for s in found], like)
    if unit is not None:
        parameters[WEIGHT], parameters[BIAS] = unit.into(parameters[WEIGHT], parameters[BIAS])
    scale = [np.divide(1, s.sd, out=np.zeros_like(s.sd), where=s.sd > 0) for s in found]
    return Standard(_stack([s.mean for s in found], like), _stack(scale, like))


def _stack(values: Sequence[Floats], like: Tensor) -> Tensor:
    return torch.from_numpy(np.stack(values)).to(like)


def _as_read(own: Mapping[str, Tensor], solution: Solution) -> Solution:
    """A solution on stored vectors as one on the centred vectors that the classifier reads."""
    if MEAN not in own:
        return solution
    mean, scale = own[MEAN][0].double().cpu().numpy(), float(own[SCALE][0])
    return replace(solution, mean=(solution.mean - mean) * scale, sd=solution.sd * scale)


def _pooled(head: Head, own: Mapping[str, Tensor], inputs: Inputs, place: slice, rows: Ints) -> Floats:
    """What a run's classifier reads of these bags (bag, pooled)."""
    parts = torch.from_numpy(rows).to(inputs.device).split(POOLED_AT_ONCE)
    found = [head.read_out(own, inputs.pooled(head, own, place, part)).embedding[0] for part in parts]
    return np.asarray(torch.cat(found).double().cpu().numpy(), dtype=np.float64)
