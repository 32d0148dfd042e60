"""Parameters that make attention even: they do, the pool learns from there, and means are means."""

import pytest
import torch

from aggregate.heads.base import Head
from aggregate.heads.clam_sb import ClamSbHead
from aggregate.heads.query import QueryHead
from aggregate.heads.registry import HEADS

pytestmark = pytest.mark.numerics

DIM, CLASSES, BAGS, SLICES, RUNS = 12, 3, 5, 7, 2
BUILT = [spec.build(DIM, CLASSES) for kind in HEADS for spec in kind.examples()]
LEARNING = [head for head in BUILT if not head.pool_is_fixed]


def name(head: Head) -> str:
    return head.spec.model_dump_json(exclude_defaults=True)


@pytest.fixture
def bags() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(BAGS, SLICES, DIM, dtype=torch.float64, generator=generator)
    keep = torch.arange(SLICES) < torch.tensor([7, 1, 3, 5, 2]).unsqueeze(1)
    height = 150 * torch.rand(BAGS, SLICES, dtype=torch.float64, generator=generator)
    return x.masked_fill(~keep.unsqueeze(-1), 0), keep, height


def started(head: Head) -> dict[str, torch.Tensor]:
    return head.even(head.init(range(RUNS), torch.float64))


@pytest.mark.parametrize("head", LEARNING, ids=name)
def test_attention_starts_even(head, bags):
    keep = bags[1]
    attention = head(started(head), *bags).attention
    uniform = (keep.double() / keep.sum(-1, keepdim=True)).expand_as(attention)
    drawn = isinstance(head, ClamSbHead) or (isinstance(head, QueryHead) and head.queries > 1)
    torch.testing.assert_close(attention, uniform, rtol=0, atol=0.2 if drawn else 1e-12)
    assert torch.allclose(attention, uniform, rtol=0, atol=1e-12) != drawn


@pytest.mark.parametrize("head", LEARNING, ids=name)
def test_the_pool_learns_from_an_even_start(head, bags):
    parameters = started(head)
    names = sorted(head.trainable & head.pool_shapes().keys())
    leaves = {name: parameters[name].clone().requires_grad_() for name in names}
    attention = head(parameters | leaves, *bags).attention
    shown = torch.randn(attention.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = torch.autograd.grad((attention * shown).sum(), list(leaves.values()), materialize_grads=True)
    assert any(bool((gradient.flatten(1).abs().sum(1) > 1e-6).all()) for gradient in found)


@pytest.mark.parametrize("head", [head for head in BUILT if head.starts_as_mean], ids=name)
def test_what_says_that_it_starts_as_the_mean_does(head, bags):
    x, keep, height = bags
    found = head.pool(started(head), head.prepare(*bags), keep, height)[0]
    mean = x.sum(1) / keep.sum(1, keepdim=True)
    torch.testing.assert_close(found, mean.expand_as(found), rtol=0, atol=1e-12)
