"""A loss beside a loop that is written out from its formula: values and gradients."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from aggregate.losses.base import Batch, TermSpec

FEATURES, CLASSES = 5, 3
LABELS = {
    "balanced": [0, 1, 2, 0, 1, 2, 0, 1, 2],
    "singleton": [0, 0, 0, 0, 1, 2, 2],
    "one class": [1, 1, 1, 1, 1],
    "all alone": [0, 1, 2],
    "one bag": [2],
}


def padded(y: list[int], columns: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Values (2, bag + 2, columns) of two runs with a pad in front and one behind, labels, valid."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(2, len(y) + 2, columns, dtype=torch.float64, generator=generator)
    labels = torch.tensor([[1, *y, 0], [1, *y, 0]])
    valid = torch.tensor([[False] + [True] * len(y) + [False]] * 2)
    return values, labels, valid


def check(fast: Any, slow: Any, y: list[int], columns: int) -> None:
    """Compare values and gradients of both runs; pads must get no gradient."""
    values, labels, valid = padded(y, columns)
    given = values.clone().requires_grad_()
    compare(fast(given, labels, valid), given, [slow, slow])


def check_specs(
    specs: Sequence[TermSpec],
    slow: Callable[[Any, Tensor, list[int], list[float], list[float]], Tensor],
    y: list[int],
    counts: list[list[float]],
    columns: int = CLASSES,
) -> None:
    """Two stacked specs, each with its own counts, beside `slow(spec, values, y, bag weights, counts)`."""
    values, labels, valid = padded(y, columns)
    given = values.clone().requires_grad_()
    own = [[0.5 + (index + run) % 3 for index in range(len(y))] for run in range(2)]
    weight = torch.tensor([[9.0, *row, 9.0] for row in own], dtype=torch.float64)
    loss = type(specs[0]).stacked(specs, torch.tensor(counts, dtype=torch.float64))
    found = loss(Batch(given, given, labels, valid, weight))

    def expected(run: int) -> Callable[[Tensor], Tensor]:
        return lambda alone: slow(specs[run], alone, y, own[run], counts[run])

    compare(found, given, [expected(0), expected(1)])


def compare(loss: Tensor, given: Tensor, slow: Sequence[Callable[[Tensor], Tensor]]) -> None:
    """Values of two runs and their gradients by `given`, which has a pad at both ends."""
    assert loss.shape == (2,)
    (gradient,) = torch.autograd.grad(loss.sum(), given)
    assert not gradient[:, [0, -1]].any()
    for run in range(2):
        alone = given[run, 1:-1].detach().clone().requires_grad_()
        expected = slow[run](alone)
        torch.testing.assert_close(loss[run], expected, rtol=0, atol=1e-10)
        slope = torch.zeros_like(alone)
        if expected.requires_grad:
            (slope,) = torch.autograd.grad(expected, alone)
        torch.testing.assert_close(gradient[run, 1:-1], slope, rtol=0, atol=1e-10)
