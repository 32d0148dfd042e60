"""Losses beside the plain ones, against loops written out from their formulas and against torch's own."""

import math

import numpy as np
import pytest
import torch
from loss_parity import CLASSES, FEATURES, LABELS, check_specs
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor, nn

from aggregate.losses.base import Batch
from aggregate.losses.center import CenterSpec
from aggregate.losses.class_weights import EffectiveNumber, class_weights
from aggregate.losses.corn import CornSpec, corn, corn_log_probabilities
from aggregate.losses.cross_entropy import CrossEntropySpec, cross_entropy
from aggregate.losses.focal import FocalSpec
from aggregate.losses.huber import HuberSpec
from aggregate.losses.triplet import TripletSpec

pytestmark = pytest.mark.numerics

COUNTS = [[7.0, 2.0, 4.0], [1.0, 30.0, 5.0]]
labels = pytest.mark.parametrize("y", LABELS.values(), ids=LABELS)


def log_softmax(row: Tensor) -> list[Tensor]:
    total = sum(value.exp() for value in row)
    return [torch.log(value.exp() / total) for value in row]


def slow_class_weights(choice, counts: list[float]) -> list[float]:
    if choice == "none":
        return [1.0] * len(counts)
    if isinstance(choice, tuple):
        return list(choice)
    if choice == "balanced":
        present = sum(n > 0 for n in counts)
        return [sum(counts) / (present * n) if n else 0.0 for n in counts]
    raw = [(1 - choice.beta) / (1 - choice.beta**n) if n else 0.0 for n in counts]
    return [w * sum(n > 0 for n in counts) / sum(raw) for w in raw]


def slow_cross_entropy(spec, logits, y, bag, counts) -> Tensor:
    weight = slow_class_weights(spec.class_weights, counts)
    floored = [max(n, 0.5) for n in counts]
    total, below = logits.new_zeros(()), 0.0
    for row, label, b in zip(logits, y, bag, strict=True):
        prior = [math.log(n / sum(floored)) for n in floored]
        log_p = log_softmax(row + spec.logit_adjustment * torch.tensor(prior, dtype=torch.float64))
        hit = -weight[label] * log_p[label]
        spread = sum(-w * value for w, value in zip(weight, log_p, strict=True)) / len(log_p)
        total = total + b * ((1 - spec.label_smoothing) * hit + spec.label_smoothing * spread)
        below += b * weight[label]
    return total / below


OPTIONS = [
    ({}, {"label_smoothing": 0.2}),
    ({"class_weights": "balanced"}, {"class_weights": (0.3, 1.0, 2.5)}),
    ({"class_weights": {"beta": 0.9}, "label_smoothing": 0.1}, {"class_weights": {"beta": 0.0}}),
    ({"logit_adjustment": 1.0}, {"logit_adjustment": 0.5, "class_weights": "balanced"}),
]


@labels
@pytest.mark.parametrize("options", OPTIONS)
def test_cross_entropy_with_options(y, options):
    check_specs([CrossEntropySpec(**own) for own in options], slow_cross_entropy, y, COUNTS)


@labels
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_cross_entropy_is_torchs(y, smoothing):
    def torchs(spec, logits, y, bag, counts):
        weight = torch.tensor(spec.class_weights, dtype=torch.float64)
        loss = nn.CrossEntropyLoss(weight, label_smoothing=spec.label_smoothing, reduction="none")
        bags = torch.tensor(bag, dtype=torch.float64)
        return (bags * loss(logits, torch.tensor(y))).sum() / (bags * weight[torch.tensor(y)]).sum()

    specs = [
        CrossEntropySpec(class_weights=given, label_smoothing=smoothing) for given in ((1, 2, 3), (0.1, 5, 1))
    ]
    check_specs(specs, torchs, y, COUNTS)


def test_torchs_own_mean_is_ours_where_bags_weigh_alike():
    logits, y = torch.randn(1, 6, 3, dtype=torch.float64), torch.tensor([[0, 2, 2, 1, 0, 2]])
    loss = CrossEntropySpec.stacked(
        [CrossEntropySpec(class_weights=(1, 2, 3), label_smoothing=0.1)], torch.ones(1, 3)
    )
    batch = Batch(logits, logits, y, torch.ones(1, 6, dtype=torch.bool), torch.ones(1, 6))
    weight = torch.tensor([1.0, 2, 3], dtype=torch.float64)
    expected = nn.functional.cross_entropy(logits[0], y[0], weight, label_smoothing=0.1)
    torch.testing.assert_close(loss(batch)[0], expected, rtol=0, atol=1e-12)


def test_class_weights_from_counts():
    counts = torch.tensor([7.0, 2.0, 4.0], dtype=torch.float64)
    y = np.repeat(np.arange(3), [7, 2, 4])
    theirs = compute_class_weight("balanced", classes=np.arange(3), y=y)
    np.testing.assert_allclose(class_weights("balanced", counts).numpy(), theirs, atol=1e-12)
    # beta 0 weighs all alike; beta near 1 is the inverse of the counts.
    found = class_weights(EffectiveNumber(beta=0.0), counts)
    torch.testing.assert_close(found, torch.ones(3, dtype=torch.float64))
    near = class_weights(EffectiveNumber(beta=1 - 1e-9), counts)
    torch.testing.assert_close(near * counts, (near * counts)[:1].expand(3), rtol=1e-6, atol=0)
    for choice in ("balanced", EffectiveNumber(beta=0.9)):
        absent = class_weights(choice, torch.tensor([3.0, 0.0, 5.0], dtype=torch.float64))
        assert absent[1] == 0
        assert absent.isfinite().all()


def test_adjusted_logits_learn_what_equal_classes_would():
    """The best adjusted logits of an imbalanced sample are, unadjusted, those of a balanced one."""
    density = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]], dtype=torch.float64)  # class given, place
    prior = torch.tensor([0.9, 0.1], dtype=torch.float64)
    balanced = (density / density.sum(0)).log().T
    weight = (prior.unsqueeze(1) * density).T.reshape(1, -1)
    logits = balanced.repeat_interleave(2, 0).unsqueeze(0).requires_grad_()
    y = torch.tensor([[0, 1] * 3])
    spec = CrossEntropySpec(logit_adjustment=1.0)
    loss = CrossEntropySpec.stacked([spec], (1000 * prior).unsqueeze(0))
    value = loss(Batch(logits, logits, y, torch.ones(1, 6, dtype=torch.bool), weight))
    (gradient,) = torch.autograd.grad(value.sum(), logits)
    by_place = gradient.view(3, 2, 2).sum(1)
    torch.testing.assert_close(by_place, torch.zeros_like(by_place), rtol=0, atol=1e-12)


def test_a_label_without_training_bags_leaves_everything_finite():
    for spec in (
        CrossEntropySpec(logit_adjustment=2.0, label_smoothing=0.3),
        CrossEntropySpec(class_weights="balanced", label_smoothing=0.3),
        FocalSpec(class_weights=EffectiveNumber(beta=0.99)),
    ):
        logits = torch.randn(1, 4, 3, dtype=torch.float64, requires_grad=True)
        loss = type(spec).stacked([spec], torch.tensor([[4.0, 0.0, 2.0]]))
        y, keep = torch.tensor([[0, 2, 0, 0]]), torch.ones(1, 4, dtype=torch.bool)
        value = loss(Batch(logits, logits, y, keep, torch.ones(1, 4)))
        (gradient,) = torch.autograd.grad(value.sum(), logits)
        assert value.isfinite().all()
        assert gradient.isfinite().all()


def slow_focal(spec, logits, y, bag, counts) -> Tensor:
    weight = slow_class_weights(spec.class_weights, counts)
    total, below = logits.new_zeros(()), 0.0
    for row, label, b in zip(logits, y, bag, strict=True):
        log_p = log_softmax(row)[label]
        total = total - b * weight[label] * (1 - log_p.exp()) ** spec.gamma * log_p
        below += b * weight[label]
    return total / below


@labels
@pytest.mark.parametrize(("first", "second"), [(2.0, 0.5), (0.0, 5.0)])
def test_focal(y, first, second):
    specs = [FocalSpec(gamma=first), FocalSpec(gamma=second, class_weights="balanced")]
    check_specs(specs, slow_focal, y, COUNTS)


@labels
def test_focal_without_gamma_is_the_weighted_cross_entropy(y):
    specs = [FocalSpec(gamma=0.0, class_weights=own) for own in ("balanced", (1.0, 2.0, 3.0))]
    plain = {spec: CrossEntropySpec(class_weights=spec.class_weights) for spec in specs}
    check_specs(specs, lambda spec, *given: slow_cross_entropy(plain[spec], *given), y, COUNTS)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_of_certain_bags_is_finite(dtype, gamma):
    logits = torch.tensor([[[0.0, 300.0], [300.0, 0.0], [0.0, 20.0], [0.0, 1e-30]]], dtype=dtype)
    logits.requires_grad_()
    loss = FocalSpec.stacked([FocalSpec(gamma=gamma)], torch.ones(1, 2))
    y, keep = torch.tensor([[1, 1, 1, 1]]), torch.ones(1, 4, dtype=torch.bool)
    value = loss(Batch(logits, logits, y, keep, torch.ones(1, 4, dtype=dtype)))
    (gradient,) = torch.autograd.grad(value.sum(), logits)
    assert value.isfinite().all()
    assert gradient.isfinite().all()
    assert gradient[0, 1].abs().sum() > 0.1  # the bag that is wrong still pulls


def slow_triplet(spec, g, y, bag, counts) -> Tensor:
    terms = []
    for i in range(len(y)):
        same = [(g[i] - g[k]).norm() for k in range(len(y)) if k != i and y[k] == y[i]]
        others = [(g[i] - g[k]).norm() for k in range(len(y)) if y[k] != y[i]]
        if same and others:
            gap = max(same) - min(others)
            if spec.margin == "soft":
                terms.append(torch.log(1 + gap.exp()))
            else:
                terms.append(torch.clamp(spec.margin + gap, min=0))
    return sum(terms) / len(terms) if terms else g.new_zeros(())


@labels
@pytest.mark.parametrize("margins", [("soft", 0.2), (3.0, 0.0)])
def test_triplet(y, margins):
    check_specs([TripletSpec(margin=m) for m in margins], slow_triplet, y, COUNTS, FEATURES)


def test_triplet_of_equal_embeddings_has_no_gradient_and_a_value():
    g = torch.ones(1, 4, 3, requires_grad=True)
    loss = TripletSpec.stacked([TripletSpec(margin=0.5)], torch.ones(1, 2))
    keep = torch.ones(1, 4, dtype=torch.bool)
    value = loss(Batch(g, g, torch.tensor([[0, 0, 1, 1]]), keep, torch.ones(1, 4)))
    assert float(value.detach()) == 0.5
    assert not torch.autograd.grad(value.sum(), g)[0].any()


def slow_center(spec, batches: list[Tensor], labels: list[list[int]]) -> list[Tensor]:
    centres = {label: torch.zeros(FEATURES, dtype=torch.float64) for label in range(CLASSES)}
    values = []
    for g, y in zip(batches, labels, strict=True):
        values.append(sum(((g[i] - centres[y[i]]) ** 2).sum() for i in range(len(y))) / (2 * len(y)))
        moved = {}
        for label, centre in centres.items():
            mine = [g[i].detach() for i in range(len(y)) if y[i] == label]
            away = sum((centre - own for own in mine), torch.zeros_like(centre))
            moved[label] = centre - spec.alpha * away / (1 + len(mine))
        centres = moved
    return values


def test_center_follows_its_runs_own_batches_and_forgets_those_that_left():
    specs = [CenterSpec(alpha=alpha) for alpha in (0.5, 0.1, 1.0)]
    labels = list(LABELS.values())
    loss = CenterSpec.stacked(specs, torch.ones(3, CLASSES))
    generator = torch.Generator().manual_seed(3)
    drawn = [torch.randn(3, len(y), FEATURES, dtype=torch.float64, generator=generator) + 1 for y in labels]
    slow = [slow_center(spec, [g[run] for g in drawn], labels) for run, spec in enumerate(specs)]
    left = [0, 1, 2]
    for step, (g, y) in enumerate(zip(drawn, labels, strict=True)):
        if step == 3:  # the middle run has stopped
            left = [0, 2]
            before, loss = loss, CenterSpec.stacked([specs[0], specs[2]], torch.ones(2, CLASSES))
            loss.recall(before, torch.tensor(left))
        given = g[left].requires_grad_()
        keep = torch.ones(len(left), len(y), dtype=torch.bool)
        found = loss(Batch(given, given, torch.tensor([y] * len(left)), keep, keep.double()))
        torch.testing.assert_close(found, torch.stack([slow[run][step] for run in left]), atol=1e-10, rtol=0)
        (gradient,) = torch.autograd.grad(found.sum(), given)
        assert gradient.isfinite().all()


def slow_corn(spec, logits, y, bag, counts) -> Tensor:
    total, below = logits.new_zeros(()), 0.0
    for task in range(logits.shape[1]):
        for i in range(len(y)):
            if y[i] < task:
                continue
            p = 1 / (1 + torch.exp(-logits[i, task]))
            total = total - bag[i] * torch.log(p if y[i] > task else 1 - p)
            below += bag[i]
    return total / below


@labels
def test_corn(y):
    check_specs([CornSpec(), CornSpec()], slow_corn, y, COUNTS, CLASSES - 1)


def test_corns_probabilities_are_the_chain_of_its_tasks():
    logits = torch.randn(4, 3, dtype=torch.float64)
    p = torch.sigmoid(logits)
    expected = torch.stack(
        [1 - p[:, 0], p[:, 0] * (1 - p[:, 1]), p[:, 0] * p[:, 1] * (1 - p[:, 2]), p.prod(1)], 1
    )
    torch.testing.assert_close(corn_log_probabilities(logits).exp(), expected, rtol=0, atol=1e-12)


def test_corn_of_a_softmaxs_conditional_logits_is_the_cross_entropy_times_a_constant():
    """Why a classifier with an output for each class is refused."""
    logits = torch.randn(1, 9, 4, dtype=torch.float64)
    y = torch.tensor([[0, 1, 2, 3, 0, 1, 1, 0, 3]])
    above = torch.stack([logits[..., k + 1 :].logsumexp(-1) for k in range(3)], -1)
    steps = above - logits[..., :3]
    torch.testing.assert_close(corn_log_probabilities(steps), logits.log_softmax(-1), rtol=0, atol=1e-12)
    ones = torch.ones(1, 9, dtype=torch.float64)
    members = sum(int((y >= k).sum()) for k in range(3))
    expected = cross_entropy(logits, y, ones > 0) * 9 / members
    torch.testing.assert_close(corn(steps, y, ones), expected, rtol=0, atol=1e-12)


@labels
def test_huber_is_torchs(y):
    def torchs(spec, outputs, y, bag, counts):
        target = torch.tensor(y, dtype=torch.float64)
        values = nn.HuberLoss(reduction="none", delta=spec.delta)(outputs[:, 0], target)
        bags = torch.tensor(bag, dtype=torch.float64)
        return (bags * values).sum() / bags.sum()

    check_specs([HuberSpec(delta=0.4), HuberSpec(delta=1.5)], torchs, y, COUNTS, 1)
