"""Every loss against a loop written out from its formula, values and gradients."""

import math

import pytest
import torch
from loss_parity import CLASSES, FEATURES, LABELS, check
from pydantic import ValidationError
from torch import Tensor

from aggregate.losses.base import Batch
from aggregate.losses.class_variance import class_variance
from aggregate.losses.cross_entropy import cross_entropy
from aggregate.losses.registry import LossSpec
from aggregate.losses.supcon import supcon
from aggregate.training.steps.objective import Objective

pytestmark = pytest.mark.numerics


def slow_cross_entropy(logits: Tensor, y: list[int], weight: list[float]) -> Tensor:
    total, weights = logits.new_zeros(()), 0.0
    for row, label, w in zip(logits, y, weight, strict=True):
        total = total - w * torch.log(row[label].exp() / sum(value.exp() for value in row))
        weights += w
    return total / weights


def slow_supcon(g: Tensor, y: list[int], temperature: float) -> Tensor:
    u = [row / torch.sqrt(sum(value**2 for value in row)) for row in g]
    total = g.new_zeros(())
    for i in range(len(y)):
        positives = [p for p in range(len(y)) if p != i and y[p] == y[i]]
        if not positives:
            continue
        below = sum(torch.exp(u[i] @ u[k] / temperature) for k in range(len(y)) if k != i)
        inner = sum(u[i] @ u[p] / temperature - torch.log(below) for p in positives)
        total = total + inner / len(positives)
    return -total / len(y)


def slow_class_variance(g: Tensor, y: list[int], reduction: str) -> Tensor:
    u = [row / torch.sqrt(sum(value**2 for value in row)) for row in g]
    total = g.new_zeros(())
    for label in set(y):
        members = [u[i] for i in range(len(y)) if y[i] == label]
        if len(members) == 1:
            continue
        centre = sum(members) / len(members)
        squares = sum(((member - centre) ** 2).sum() for member in members) / len(members)
        total = total + (squares / g.shape[1] if reduction == "mean" else squares)
    return total / len(set(y))


labels = pytest.mark.parametrize("y", LABELS.values(), ids=LABELS)


@labels
def test_cross_entropy(y):
    check(cross_entropy, lambda logits: slow_cross_entropy(logits, y, [1.0] * len(y)), y, CLASSES)


@labels
def test_cross_entropy_with_weights(y):
    weight = [0.5 + index % 3 for index in range(len(y))]
    stacked = torch.tensor([[9.0, *weight, 9.0]] * 2, dtype=torch.float64)
    check(
        lambda logits, y_, valid: cross_entropy(logits, y_, valid, stacked),
        lambda logits: slow_cross_entropy(logits, y, weight),
        y,
        CLASSES,
    )


@labels
@pytest.mark.parametrize("temperature", [0.07, 0.5])
def test_supcon(y, temperature):
    check(
        lambda g, y_, valid: supcon(g, y_, valid, temperature),
        lambda g: slow_supcon(g, y, temperature),
        y,
        FEATURES,
    )


@labels
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_class_variance(y, reduction):
    check(
        lambda g, y_, valid: class_variance(g, y_, valid, reduction),
        lambda g: slow_class_variance(g, y, reduction),
        y,
        FEATURES,
    )


def test_anchor_without_positive_stays_in_the_mean():
    pair = torch.tensor([[[1.0, 0.0], [0.6, 0.8]]], dtype=torch.float64)
    far = torch.cat([pair, torch.tensor([[[-1.0, 0.0]]], dtype=torch.float64)], 1)
    y = torch.tensor([[0, 0, 1]])
    valid = torch.ones(1, 3, dtype=torch.bool)
    s = 1 / 0.5
    terms = [0.6 * s - math.log(math.exp(0.6 * s) + math.exp(other * s)) for other in (-1.0, -0.6)]
    assert float(supcon(far, y, valid, 0.5)) == pytest.approx(-sum(terms) / 3, abs=1e-12)


def test_class_variance_is_at_most_one_over_dim():
    g = torch.nn.functional.normalize(torch.randn(1, 40, 128), dim=-1)
    y = torch.arange(40).unsqueeze(0) % 2
    valid = torch.ones(1, 40, dtype=torch.bool)
    mean, total = (float(class_variance(g, y, valid, how)) for how in ("mean", "sum"))
    assert mean <= 1 / 128
    assert total == pytest.approx(128 * mean, rel=1e-5)


def test_empty_batch_and_dead_embedding_give_zero_and_a_working_backward():
    for loss in (supcon, class_variance, cross_entropy):
        given = torch.zeros(1, 4, CLASSES, requires_grad=True)
        value = loss(given, torch.zeros(1, 4, dtype=torch.int64), torch.zeros(1, 4, dtype=torch.bool))
        assert float(value.detach()) == 0
        (gradient,) = torch.autograd.grad(value.sum(), given)
        assert not gradient.any()
    dead = torch.zeros(1, 4, 6, requires_grad=True)
    y = torch.tensor([[0, 0, 1, 1]])
    valid = torch.ones(1, 4, dtype=torch.bool)
    for loss in (supcon, class_variance):
        (gradient,) = torch.autograd.grad(loss(torch.relu(dead), y, valid).sum(), dead)
        assert gradient.isfinite().all()


def test_objective_is_each_runs_own_weighted_sum():
    specs = [
        LossSpec(),
        LossSpec(supcon=0.7, class_variance={"weight": 0.3, "reduction": "sum"}),
        LossSpec(cross_entropy=0.0, supcon={"weight": 1.0, "temperature": 0.2}, class_variance=2.0),
    ]
    y = [0, 1, 1, 2, 0]
    generator = torch.Generator().manual_seed(2)
    logits = torch.randn(3, 5, CLASSES, dtype=torch.float64, generator=generator)
    g = torch.randn(3, 5, FEATURES, dtype=torch.float64, generator=generator)
    weight = torch.rand(3, 5, dtype=torch.float64, generator=generator)
    stacked = torch.tensor([y] * 3)
    valid = torch.ones(3, 5, dtype=torch.bool)
    objective = Objective(specs, torch.ones(3, CLASSES))
    total = objective(Batch(logits, g, stacked, valid, weight))
    for run, spec in enumerate(specs):
        expected = (
            spec.cross_entropy.weight * slow_cross_entropy(logits[run], y, weight[run].tolist())
            + spec.supcon.weight * slow_supcon(g[run], y, spec.supcon.temperature)
            + spec.class_variance.weight * slow_class_variance(g[run], y, spec.class_variance.reduction)
        )
        torch.testing.assert_close(total[run], expected, rtol=0, atol=1e-10)
    last = Batch(logits[2:], g[2:], stacked[2:], valid[2:], weight[2:])
    picked = objective.select(torch.tensor([2]))(last)
    torch.testing.assert_close(picked, total[2:], rtol=0, atol=1e-12)


def test_loss_spec_reads_numbers_and_mappings():
    spec = LossSpec.model_validate(
        {"cross_entropy": 1.0, "supcon": 1, "class_variance": {"weight": 0.1, "reduction": "sum"}}
    )
    assert spec.supcon.weight == 1
    assert spec.supcon.temperature == 0.07
    assert spec.class_variance.reduction == "sum"
    assert LossSpec.model_validate_json(spec.model_dump_json()) == spec
    assert LossSpec().cross_entropy.weight == 1
    assert not LossSpec().contrastive


@pytest.mark.parametrize(
    "given", [{"supcon": -1}, {"supco": 1}, {"class_variance": {"reduction": "max"}}, {"supcon": "much"}]
)
def test_impossible_losses_are_refused(given):
    with pytest.raises(ValidationError):
        LossSpec.model_validate(given)
