"""Heads that go by the slices' order against written-out loops."""

import pytest
import torch

from aggregate.heads.attention import AttentionSpec
from aggregate.heads.smap import SmapSpec

pytestmark = pytest.mark.numerics

DIM, CLASSES, BAGS, SLICES, RUNS = 11, 3, 5, 7, 3


@pytest.fixture
def bags() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Bags with gaps between kept slices, and heights in no order."""
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(BAGS, SLICES, DIM, dtype=torch.float64, generator=generator)
    keep = torch.rand(BAGS, SLICES, generator=generator) < 0.6
    keep[:, 2], keep[1] = True, torch.arange(SLICES) == 2
    height = 150 * torch.rand(BAGS, SLICES, dtype=torch.float64, generator=generator)
    return x, keep, height


def made(spec):
    """A head with every trained parameter away from its start, and each run's own."""
    head = spec.build(DIM, CLASSES)
    generator = torch.Generator().manual_seed(11)
    parameters = {
        name: value + 0.2 * torch.randn(value.shape, dtype=torch.float64, generator=generator)
        if name in head.trainable
        else value
        for name, value in head.init(range(RUNS), torch.float64).items()
    }
    return head, parameters, [{name: value[run] for name, value in parameters.items()} for run in range(RUNS)]


def downwards(bag, x, keep, height) -> list[int]:
    """The kept slices of a bag, from the vertex down."""
    return sorted((i for i in range(SLICES) if keep[bag, i]), key=lambda i: float(height[bag, i]))


def near(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)


def smoothed(h: list[torch.Tensor], alpha: float, steps: int) -> list[torch.Tensor]:
    """g <- (1 - alpha) h + alpha A g, slice by slice."""
    g = h
    for _ in range(steps):
        beside = [[g[j] for j in (i - 1, i + 1) if 0 <= j < len(g)] or [g[i]] for i in range(len(g))]
        g = [(1 - alpha) * h[i] + alpha * sum(beside[i]) / len(beside[i]) for i in range(len(g))]
    return g


@pytest.mark.parametrize(("alpha", "steps"), [(0.5, 10), (0.9, 3)])
def test_smooth_attention_is_the_formula(alpha, steps, bags):
    x, _, _ = bags
    head, parameters, runs = made(SmapSpec(hidden=4, alpha=alpha, steps=steps))
    pooled, attention = head.pool(parameters, *bags)
    for run, own in enumerate(runs):
        for bag in range(BAGS):
            order = downwards(bag, *bags)
            g = smoothed([x[bag, i] for i in order], alpha, steps)
            v, b = own["attention.project.weight"], own["attention.project.bias"]
            e = torch.stack([own["attention.score.weight"] @ torch.tanh(v @ row + b) for row in g])
            a = e.exp() / e.exp().sum()
            near(attention[run, bag][order], a)
            near(pooled[run, bag], sum(a[place] * x[bag, i] for place, i in enumerate(order)))


def test_without_neighbours_smooth_attention_is_attention(bags):
    head, parameters, _ = made(SmapSpec(alpha=0))
    plain = AttentionSpec().build(DIM, CLASSES)
    for ours, theirs in zip(head.pool(parameters, *bags), plain.pool(parameters, *bags), strict=True):
        near(ours, theirs)
