"""Cox's partial likelihood: the loss and the solution, against loops and scikit-survival."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_parity import check_specs
from torch import Tensor

from aggregate.common.signed_times import signed_times, strata_of
from aggregate.losses.cox import CoxSpec, cox
from aggregate.training.solving.cox import choose_strength, solve_cox
from aggregate.training.solving.logistic import FEW, STRENGTHS

pytestmark = pytest.mark.numerics

TIMES = {
    "no tie": [5, -3, 2, 7, -1, 4],
    "ties": [3, 3, -3, 2, 2, 2, -5, 5, 1],
    "no event": [-1, -2, -2],
    "all at once": [4, 4, 4, 4],
    "one bag": [2],
}
times = pytest.mark.parametrize("y", TIMES.values(), ids=TIMES)


def slow_cox(spec: CoxSpec, logits: Tensor, y: list[int], bag: list[float], counts) -> Tensor:
    risk, events = logits[:, 0], [i for i, value in enumerate(y) if value > 0]
    total = logits.new_zeros(())
    for time in sorted({y[i] for i in events}):
        tied = [i for i in events if y[i] == time]
        weight = sum(bag[i] for i in tied)
        at_risk = sum(bag[i] * torch.exp(risk[i]) for i in range(len(y)) if abs(y[i]) >= time)
        own = sum(bag[i] * torch.exp(risk[i]) for i in tied)
        steps = 1 if spec.ties == "breslow" else max(1, min(round(weight), len(tied)))
        total = total - sum(bag[i] * risk[i] for i in tied)
        for step in range(steps):
            total = total + weight / steps * torch.log(at_risk - step / steps * own)
    return total / max(sum(bag[i] for i in events), 1e-30)


@times
@pytest.mark.parametrize("ties", ["efron", "breslow"])
def test_cox(y, ties):
    check_specs([CoxSpec(ties=ties)] * 2, slow_cox, y, [[1.0], [1.0]], 1)


def made_up(n: int = 60, seed: int = 0, rounded: bool = True) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Columns (row, 7), times and events."""
    generator = np.random.default_rng(seed)
    x = generator.normal(3, 2, (n, 7))
    time = generator.exponential(np.exp(-0.4 * x[:, 0] - 0.1 * x[:, 1])) * 100
    end = generator.exponential(40, n)
    observed = np.minimum(time, end)
    return x, 1 + (observed.round() if rounded else observed), time <= end


def signed(time: np.ndarray, event: np.ndarray) -> Tensor:
    return torch.tensor(np.where(event, time, -time))


@pytest.mark.parametrize("ties", ["efron", "breslow"])
def test_cox_is_scikit_survivals(ties):
    coxph = pytest.importorskip("sksurv.linear_model.coxph", reason="no release beside this scikit-learn")
    x, time, event = made_up()
    beta = np.linspace(-1, 1, x.shape[1])
    expected = coxph.CoxPHOptimizer(x, event, time, np.zeros(len(beta)), ties).nlog_likelihood(beta)
    y, ones = signed(time, event)[None], torch.ones(1, len(time), dtype=torch.float64)
    found = cox(torch.tensor(x @ beta)[None], y, ones, ties)
    assert found.item() == pytest.approx(expected * len(time) / event.sum(), abs=1e-10)


numbers = st.lists(st.tuples(st.integers(-9, 9), st.floats(-20, 20)), min_size=1, max_size=12)


@given(numbers, st.floats(-30, 30), st.sampled_from(["efron", "breslow"]))
@settings(deadline=None, max_examples=40)
def test_neither_a_shift_of_the_risk_nor_another_clock_changes_it(bags, shift, ties):
    y = torch.tensor([[float(value) for value, _ in bags]])
    risk = torch.tensor([[value for _, value in bags]], dtype=torch.float64)
    ones = torch.ones_like(risk)
    found = cox(risk, y, ones, ties)
    assert found >= -1e-9
    torch.testing.assert_close(cox(risk + shift, y, ones, ties), found, rtol=0, atol=1e-9)
    stretched = y.sign() * (y.abs() ** 3 / 7)
    torch.testing.assert_close(cox(risk, stretched, ones, ties), found, rtol=0, atol=1e-12)


def test_two_sessions_of_half_the_weight_are_one_participant():
    y, risk = torch.tensor([[3.0, 3, -3, 5, 2]]), torch.randn(1, 5, dtype=torch.float64)
    once = cox(risk, y, torch.ones(1, 5, dtype=torch.float64))
    twice = [part.repeat_interleave(2, 1) for part in (risk, y)]
    halves = torch.full((1, 10), 0.5, dtype=torch.float64)
    torch.testing.assert_close(cox(*twice, halves), once, rtol=0, atol=1e-12)


def test_a_risk_far_from_the_others_overflows_nothing():
    y, risk = torch.tensor([[1.0, 2, 3, 3]]), torch.tensor([[500.0, -500.0, 400.0, 0.0]], requires_grad=True)
    found = cox(risk, y, torch.ones(1, 4))
    (slope,) = torch.autograd.grad(found.sum(), risk)
    # 900 more at risk when the second has its event; the tie halves nothing of 400 against 0.
    assert found.item() == pytest.approx((900 + 400 - math.log(2)) / 4, abs=1e-3)
    assert slope.isfinite().all()


@pytest.mark.parametrize("strength", [1e-3, 0.1, 1.0, 100.0])
@pytest.mark.parametrize("rounded", [True, False])
def test_cox_ridge_is_scikit_survivals(strength, rounded):
    linear = pytest.importorskip("sksurv.linear_model", reason="no release beside this scikit-learn")
    x, time, event = made_up(rounded=rounded)
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    both = np.array(list(zip(event, time, strict=True)), dtype=[("event", bool), ("time", float)])
    model = linear.CoxPHSurvivalAnalysis(alpha=1 / strength, ties="efron", tol=1e-13).fit(z, both)
    found = solve_cox(x, signed_times(time, event), np.ones(len(time)), strength)
    np.testing.assert_allclose(found.weight[0], model.coef_, atol=1e-6)
    np.testing.assert_allclose(found.outputs(x)[:, 0], z @ model.coef_, atol=1e-6)


def test_the_solution_is_where_the_losss_gradient_is_the_penaltys():
    """Of fewer rows than columns and of sessions that share a participant's weight too."""
    x, time, event = made_up(20)
    x = np.concatenate([x, np.random.default_rng(1).normal(size=(20, 40))], axis=1)
    x, time, event = (np.repeat(part, 2, axis=0) for part in (x, time, event))
    x[1::2] += np.random.default_rng(2).normal(size=(20, 47))
    weight = np.full(40, 0.5)
    found = solve_cox(x, signed_times(time, event), weight, 0.3)
    z, beta = torch.tensor((x - found.mean) / found.sd), torch.tensor(found.weight[0], requires_grad=True)
    loss = cox((z @ beta)[None], signed(time, event)[None], torch.tensor(weight)[None])
    (slope,) = torch.autograd.grad(loss.sum() * event.sum() / 2, beta)
    torch.testing.assert_close(slope, -beta.detach() / 0.3, rtol=0, atol=1e-7)


def test_inner_folds_choose_a_weak_penalty_where_there_is_much_to_learn():
    generator = np.random.default_rng(0)
    x = generator.normal(size=(150, 12))
    noise = signed_times(generator.exponential(10, 150), generator.random(150) < 0.7)
    hazard = np.exp(x @ np.linspace(2, -2, 12))
    clear = signed_times(generator.exponential(1 / hazard), generator.random(150) < 0.9)
    people, ones = np.arange(150), np.ones(150)
    weak, strong = (choose_strength(x, y, ones, people, strata_of(y)) for y in (clear, noise))
    assert weak == max(STRENGTHS)
    assert strong <= 1e-2


def test_with_no_event_there_is_nothing_to_fit():
    x, time, _ = made_up(10)
    found = solve_cox(x, -time, np.ones(10), 1.0)
    assert not found.weight.any()
    assert choose_strength(x, -time, np.ones(10), np.arange(10), np.zeros(10, int)) == FEW
