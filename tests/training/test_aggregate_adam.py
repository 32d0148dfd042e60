"""Stacked Adam against torch.optim.Adam, run by run."""

import numpy as np
import pytest
import torch

from aggregate.training.steps.adam import StackedAdam, rate_at
from aggregate.training.steps.adam_mini import StackedAdamMini
from aggregate.training.steps.adamw import StackedAdamW

pytestmark = pytest.mark.numerics

RATES, DECAYS = [1e-3, 0.03, 0.2], [0.0, 0.1, 0.01]
EPSILONS = [1e-8, 0.02, 0.5]
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


def reference(run, steps, decays, epsilon=1e-8):
    own = {name: value[run].clone().requires_grad_() for name, value in start().items()}
    optimiser = torch.optim.Adam(own.values(), lr=RATES[run], weight_decay=decays[run], eps=epsilon)
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


def test_every_run_has_an_epsilon_of_its_own():
    parameters = start()
    adam = StackedAdam(parameters, RATES, DECAYS, epsilon=EPSILONS)
    for step in range(20):
        adam.step(gradients(step))
    for run, epsilon in enumerate(EPSILONS):
        for name, value in reference(run, range(20), DECAYS, epsilon).items():
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


LENGTHS = [None, 20, 7]


def one_cycle(run, step):
    """By hand: a tenth of the steps up, the rest of half a cosine down."""
    if LENGTHS[run] is None:
        return RATES[run]
    length = LENGTHS[run]
    up = min(1.0, (step + 1) / max(1, length // 10))
    return RATES[run] * up * (1 + float(np.cos(np.pi * min(step, length) / length))) / 2


@pytest.mark.parametrize(
    ("stacked", "alone"), [(StackedAdam, torch.optim.Adam), (StackedAdamW, torch.optim.AdamW)]
)
def test_rates_that_rise_and_fall_equal_torch_with_those_rates(stacked, alone):
    parameters = start()
    optimiser = stacked(parameters, RATES, DECAYS, LENGTHS)
    for step in range(9):
        optimiser.step(gradients(step))
    for run in range(3):
        own = {name: value[run].clone().requires_grad_() for name, value in start().items()}
        reference = alone(own.values(), lr=1.0, weight_decay=DECAYS[run])
        for step in range(9):
            reference.param_groups[0]["lr"] = one_cycle(run, step)
            for name, value in own.items():
                value.grad = gradients(step)[name][run]
            reference.step()
        for name, value in own.items():
            torch.testing.assert_close(parameters[name][run], value.detach(), rtol=0, atol=1e-12)


def test_a_rate_begins_low_is_highest_after_a_tenth_and_ends_at_nothing():
    rates = [rate_at(step, 0.003, 200) for step in range(200)]
    assert np.argmax(rates) == 19
    assert rates[0] == pytest.approx(0.003 / 20)
    assert rates[-1] < 1e-6
    assert rate_at(500, 0.003, 200) == 0


def adam_mini_by_hand(run, steps):
    """Zhang et al. 2024 with the L2 term in the gradient, a block being a tensor; number by number."""
    own = {name: value[run].numpy().copy() for name, value in start().items()}
    mean = {name: np.zeros_like(value) for name, value in own.items()}
    square = dict.fromkeys(own, 0.0)
    for count, step in enumerate(steps, start=1):
        for name, value in own.items():
            gradient = gradients(step)[name][run].numpy() + DECAYS[run] * value
            size = sum(float(number) ** 2 for number in gradient.ravel()) / gradient.size
            mean[name] = 0.9 * mean[name] + 0.1 * gradient
            square[name] = 0.999 * square[name] + 0.001 * size
            length = np.sqrt(square[name] / (1 - 0.999**count)) + EPSILONS[run]
            value -= RATES[run] * mean[name] / (1 - 0.9**count) / length
    return own


def test_one_second_moment_for_each_tensor_as_by_hand():
    parameters = start()
    adam = StackedAdamMini(parameters, RATES, DECAYS, epsilon=EPSILONS)
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
        for name, value in adam_mini_by_hand(run, steps).items():
            np.testing.assert_allclose(parameters[name][place], value, rtol=0, atol=1e-12)


def test_a_run_of_adam_mini_moves_as_it_does_alone():
    together = start(torch.float32)
    adam = StackedAdamMini(together, RATES, DECAYS)
    for step in range(20):
        adam.step(gradients(step, torch.float32))
    for run in range(3):
        own = {name: value[run : run + 1].clone() for name, value in start(torch.float32).items()}
        alone = StackedAdamMini(own, RATES[run : run + 1], DECAYS[run : run + 1])
        for step in range(20):
            alone.step({n: g[run : run + 1] for n, g in gradients(step, torch.float32).items()})
        for name, value in own.items():
            torch.testing.assert_close(together[name][run], value[0], rtol=1e-6, atol=1e-7)
