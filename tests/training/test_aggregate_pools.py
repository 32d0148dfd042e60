"""Every pool against its formula, slice by slice, and every written-out backward against differences."""

import pytest
import torch

from aggregate.heads.attention import AttentionPool, AttentionSpec
from aggregate.heads.centre_gaussian import CentreGaussianSpec
from aggregate.heads.gated_attention import GatedAttentionPool, GatedAttentionSpec
from aggregate.heads.linear_attention import LinearAttentionSpec
from aggregate.heads.query import QuerySpec
from aggregate.heads.random_attention import RandomAttentionSpec
from aggregate.heads.score_pool import ScorePool

pytestmark = pytest.mark.numerics

DIM, CLASSES, BAGS, SLICES, RUNS = 11, 3, 5, 7, 3


@pytest.fixture
def bags() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(BAGS, SLICES, DIM, dtype=torch.float64, generator=generator)
    keep = torch.arange(SLICES) < torch.tensor([7, 1, 3, 5, 2]).unsqueeze(1)
    height = 150 * torch.rand(BAGS, SLICES, dtype=torch.float64, generator=generator)
    return x.masked_fill(~keep.unsqueeze(-1), 0), keep, height


def attention_score(own, h):
    hidden = torch.tanh(own["attention.project.weight"] @ h + own["attention.project.bias"])
    return own["attention.score.weight"] @ hidden


def gated_score(own, h):
    v, u = own["attention.project.weight"].split(4)
    b, c = own["attention.project.bias"].split(4)
    return own["attention.score.weight"] @ (torch.tanh(v @ h + b) * torch.sigmoid(u @ h + c))


def linear_score(own, h):
    return own["attention.score.weight"] @ h


FORMULAS = [
    (AttentionSpec(hidden=4, embedding=(6, 4)), attention_score),
    (RandomAttentionSpec(hidden=4, embedding=(6, 4)), attention_score),
    (GatedAttentionSpec(hidden=4, embedding=(6, 4)), gated_score),
    (LinearAttentionSpec(embedding=(6, 4)), linear_score),
]


@pytest.mark.parametrize(("spec", "score"), FORMULAS, ids=lambda value: getattr(value, "kind", ""))
def test_attention_heads_are_the_formula(spec, score, bags):
    head = spec.build(DIM, CLASSES)
    parameters = head.init(range(RUNS), torch.float64)
    x, keep, _ = bags
    output = head(parameters, *bags)
    for run in range(RUNS):
        own = {name: value[run] for name, value in parameters.items()}
        for bag in range(BAGS):
            h = x[bag][keep[bag]]
            e = torch.stack([score(own, row) for row in h])
            a = e.exp() / e.exp().sum()
            g = sum(weight * row for weight, row in zip(a, h, strict=True))
            for layer in ("embedding.0", "embedding.1"):
                g = (own[f"{layer}.weight"] @ g + own[f"{layer}.bias"]).clamp_min(0)
            logits = own["classifier.weight"] @ g + own["classifier.bias"]
            for ours, theirs in (
                (output.attention[run, bag][keep[bag]], a),
                (output.embedding[run, bag], g),
                (output.logits[run, bag], logits),
            ):
                torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


def test_queries_are_pooled_one_behind_the_other(bags):
    x, keep, _ = bags
    head = QuerySpec(queries=2, centre=False).build(DIM, CLASSES)
    parameters = head.init(range(RUNS), torch.float64)
    pooled, attention = head.pool(parameters, *bags)
    assert pooled.shape == (RUNS, BAGS, 2 * DIM) == (RUNS, BAGS, head.pooled_dim)
    for run in range(RUNS):
        for bag in range(BAGS):
            h = x[bag][keep[bag]]
            rows = [((h @ q) / DIM**0.5).softmax(0) for q in parameters["query.weight"][run]]
            expected = torch.cat([a @ h for a in rows])
            torch.testing.assert_close(pooled[run, bag], expected, rtol=0, atol=1e-12)
            mean = (rows[0] + rows[1]) / 2
            torch.testing.assert_close(attention[run, bag][keep[bag]], mean, rtol=0, atol=1e-12)


def test_centre_gaussian_is_the_formula(bags):
    x, keep, height = bags
    head = CentreGaussianSpec(sigma=0.3, centre=False).build(DIM, CLASSES)
    pooled, attention = head.pool(head.init([0], torch.float64), *bags)
    for bag in range(BAGS):
        mm = height[bag][keep[bag]]
        extent = float(mm.max() - mm.min())
        a = torch.ones(len(mm), dtype=torch.float64)
        if len(mm) > 1:
            a = torch.exp(-(((mm - mm.min()) / extent - 0.5) ** 2) / (2 * 0.3**2))
        a = a / a.sum()
        torch.testing.assert_close(attention[0, bag][keep[bag]], a, rtol=0, atol=1e-12)
        torch.testing.assert_close(pooled[0, bag], a @ x[bag][keep[bag]], rtol=0, atol=1e-12)


def test_centre_gaussian_looks_at_heights_alone(bags):
    x, keep, height = bags
    head = CentreGaussianSpec().build(DIM, CLASSES)
    parameters = head.init([0], torch.float64)
    first = head.pool(parameters, x, keep, height)[1]
    again = head.pool(parameters, torch.randn_like(x), keep, 3 * height + 40)[1]
    torch.testing.assert_close(first, again, rtol=0, atol=1e-12)
    flat = head.pool(parameters, x, keep, torch.full_like(height, 70.0))[1]
    torch.testing.assert_close(flat[0], keep / keep.sum(-1, keepdim=True).double(), rtol=0, atol=1e-12)


def test_random_attention_is_attention_before_training(bags):
    """The control for DinoAtten3D as released: the same draw, embedding and classifier trained behind it."""
    released = AttentionSpec(embedding=(6, 4), train="embedding", centre=False).build(DIM, CLASSES)
    control = RandomAttentionSpec(embedding=(6, 4), centre=False).build(DIM, CLASSES)
    first, second = released.init([3, 4], torch.float64), control.init([3, 4], torch.float64)
    assert all(torch.equal(first[name], second[name]) for name in first | second)
    logits = control(second, *bags).logits
    torch.testing.assert_close(released(first, *bags).logits, logits, rtol=0, atol=1e-12)
    assert {name.partition(".")[0] for name in control.trainable} == {"embedding", "classifier"}
    assert control.pool_is_fixed


def weights(*sizes: tuple[int, ...]) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(size, dtype=torch.float64, generator=generator).requires_grad_() for size in sizes]


@pytest.mark.parametrize(
    ("pool", "sizes"),
    [
        (AttentionPool, ((RUNS, 4, DIM), (RUNS, 4), (RUNS, 4))),
        (GatedAttentionPool, ((RUNS, 6, DIM), (RUNS, 6), (RUNS, 3))),
        (ScorePool, ((2 * RUNS, DIM),)),
    ],
)
def test_written_out_backward_is_the_derivative(pool, sizes, bags):
    x, keep, _ = bags
    slices = (x, keep) if pool is ScorePool else (0.7 * x - 0.2, x, keep)
    given = weights(*sizes)
    assert torch.autograd.gradcheck(lambda *w: pool.apply(*w, *slices), given)
    for output in range(len(pool.apply(*given, *slices))):
        assert torch.autograd.gradcheck(lambda *w, i=output: pool.apply(*w, *slices)[i], given)


@pytest.mark.parametrize("kind", [AttentionSpec, GatedAttentionSpec])
def test_runs_of_one_centring_are_as_alone(kind, bags):
    """One fold's runs centre their batch once; beside a run of another fold they fold it into weights."""
    head = kind(embedding=(6,)).build(DIM, CLASSES)
    generator = torch.Generator().manual_seed(5)
    parameters = head.init(range(RUNS), torch.float64)
    mean = torch.randn(1, DIM, dtype=torch.float64, generator=generator).repeat(RUNS, 1)
    found = []
    for last in (0.7, 0.9):
        scale = torch.tensor([0.7, 0.7, last], dtype=torch.float64)
        leaves = {name: value.clone().requires_grad_() for name, value in parameters.items()}
        leaves |= {"input.mean": mean, "input.scale": scale}
        logits = head(leaves, *bags).logits[:2]
        logits.square().sum().backward()
        found.append((logits, *(leaves[name].grad[:2] for name in sorted(head.trainable))))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
