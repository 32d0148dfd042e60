"""Stacked Adam against torch.optim.Adam, run by run."""

import pytest
import torch

from aggregate.training.adam import StackedAdam

pytestmark = pytest.mark.numerics

RATES, DECAYS = [1e-3, 0.03, 0.2], [0.0, 0.1, 0.01]
SHAPES = {"weight": (7, 5), "bias": (7,)}


def start(dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(3, *shape, dtype=dtype, generator=generator) for name, shape in SHAPES.items()}


def gradients(step, dtype=torch.float64):
    generator = torch.Generator().manual_seed(step + 1)
    return {
        name: torch.randn(3, *shape, dtype=dtype, generator=generator) * 10.0 ** (step % 5 - 3)
        for name, shape in SHAPES.items()
    }


def reference(run, steps, decays):
    own = {name: value[run].clone().requires_grad_() for name, value in start().items()}
    optimiser = torch.optim.Adam(own.values(), lr=RATES[run], weight_decay=decays[run])
    for step in steps:
        for name, value in own.items():
            value.grad = gradients(step)[name][run]
        optimiser.step()
    return own


@pytest.mark.parametrize("decays", [DECAYS, [0.0, 0.0, 0.0]])
def test_twenty_steps_equal_torch(decays):
    parameters = start()
    adam = StackedAdam(parameters, RATES, decays)
    for step in range(20):
        adam.step(gradients(step))
    for run in range(3):
        for name, value in reference(run, range(20), decays).items():
            torch.testing.assert_close(parameters[name][run], value.detach(), rtol=0, atol=1e-12)


def test_idle_and_removed_runs_keep_their_own_count():
    parameters = start()
    adam = StackedAdam(parameters, RATES, DECAYS)
    for step in range(4):
        adam.step(gradients(step))
        adam.step({name: value[:1] for name, value in gradients(step + 50).items()})
    index = torch.tensor([0, 2])
    parameters = {name: value[index] for name, value in parameters.items()}
    adam.select(parameters, index)
    for step in range(4, 9):
        adam.step({name: value[index] for name, value in gradients(step).items()})
    order = [part for step in range(4) for part in (step, step + 50)] + list(range(4, 9))
    for place, (run, steps) in enumerate(((0, order), (2, range(9)))):
        for name, value in reference(run, steps, DECAYS).items():
            torch.testing.assert_close(parameters[name][place], value.detach(), rtol=0, atol=1e-12)


def test_float32_stays_close():
    parameters = start(torch.float32)
    adam = StackedAdam(parameters, RATES, DECAYS)
    for step in range(20):
        adam.step(gradients(step, torch.float32))
    assert parameters["weight"].dtype == torch.float32
    double = start(torch.float32)
    double = {name: value.double() for name, value in double.items()}
    exact = StackedAdam(double, RATES, DECAYS)
    for step in range(20):
        exact.step({name: value.double() for name, value in gradients(step, torch.float32).items()})
    for name in SHAPES:
        torch.testing.assert_close(parameters[name].double(), double[name], rtol=1e-4, atol=1e-5)
