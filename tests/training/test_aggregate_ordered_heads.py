"""Heads that go by the slices' order against written-out loops."""

import pytest
import torch

from aggregate.heads.attention import AttentionSpec
from aggregate.heads.bigru import BigruSpec
from aggregate.heads.convolution import AlongSlices
from aggregate.heads.gru import GruStates
from aggregate.heads.smap import SmapSpec
from aggregate.heads.transmil_1d import Transmil1dSpec

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


def unit(own, state):
    """PyTorch's own network with one run's weights; its second biases of r and z are 0."""
    gru = torch.nn.GRU(DIM, state, batch_first=True, bidirectional=True).double()
    zero = torch.zeros(2 * state, dtype=torch.float64)
    for place, suffix in enumerate(("l0", "l0_reverse")):
        read, hidden = (
            slice(place * 3 * state, (place + 1) * 3 * state),
            slice(place * state, (place + 1) * state),
        )
        given = {
            "weight_ih": own["gru.read.weight"][read],
            "bias_ih": own["gru.read.bias"][read],
            "weight_hh": own["gru.recurrent.weight"][read],
            "bias_hh": torch.cat([zero, own["gru.recurrent.bias"][hidden]]),
        }
        gru.load_state_dict({f"{name}_{suffix}": value for name, value in given.items()}, strict=False)
    return gru


def test_recurrent_network_is_pytorchs(bags):
    x, _, _ = bags
    head, parameters, runs = made(BigruSpec(state=5, hidden=4))
    pooled, attention = head.pool(parameters, *bags)
    for run, own in enumerate(runs):
        for bag in range(BAGS):
            order = downwards(bag, *bags)
            states = unit(own, 5)(x[bag, order].unsqueeze(0))[0][0]
            v, b = own["attention.project.weight"], own["attention.project.bias"]
            e = torch.stack([own["attention.score.weight"] @ torch.tanh(v @ row + b) for row in states])
            a = e.exp() / e.exp().sum()
            near(attention[run, bag][order], a)
            near(pooled[run, bag], a @ states)


def test_recurrent_backward_is_the_derivative():
    generator = torch.Generator().manual_seed(1)
    sizes = ((4, 2, 3, 6), (2, 6, 2), (2, 2))
    given = [torch.randn(size, dtype=torch.float64, generator=generator).requires_grad_() for size in sizes]
    keep = (
        torch.tensor([[1, 1, 0], [0, 1, 1], [1, 0, 0], [0, 1, 1]]).bool().view(4, 1, 3, 1).repeat(1, 2, 1, 1)
    )
    assert torch.autograd.gradcheck(lambda *w: GruStates.apply(*w, keep), given)


def transmil(own, h, heads):
    """The CLS token and its attention, for one bag in order: token by token, head by head."""

    def norm(name, tokens):
        mean, var = tokens.mean(-1, keepdim=True), tokens.var(-1, unbiased=False, keepdim=True)
        weight, bias = own[f"transmil.norm_{name}.weight"], own[f"transmil.norm_{name}.bias"]
        return (tokens - mean) / (var + 1e-5).sqrt() * weight + bias

    def attend(tokens, query, key, value, output):
        normed = [torch.stack([w @ row for row in tokens]) for w in (query, key, value)]
        width = len(query) // heads
        mixed, rows = torch.zeros_like(tokens), []
        for head in range(heads):
            q, k, v = (part[:, head * width : (head + 1) * width] for part in normed)
            a = (q @ k.T / width**0.5).softmax(-1)
            mixed[:, head * width : (head + 1) * width] = a @ v
            rows.append(a[0, 1:] / a[0, 1:].sum())
        weight, bias = own[f"transmil.{output}.output.weight"], own[f"transmil.{output}.output.bias"]
        return mixed @ weight.T + bias, sum(rows) / heads

    features = (h @ own["transmil.feature.weight"].T + own["transmil.feature.bias"]).clamp_min(0)
    tokens = torch.cat([own["transmil.token.cls"].unsqueeze(0), features])
    tokens = tokens + attend(norm("first", tokens), *own["transmil.first.qkv.weight"].chunk(3), "first")[0]
    placed = tokens[1:].clone() + own["transmil.across_7.bias"]
    for taps in (3, 5, 7):
        for i in range(len(h)):
            for tap in range(taps):
                j = i + tap - taps // 2
                if 0 <= j < len(h):
                    placed[i] += own[f"transmil.across_{taps}.weight"][:, tap] * tokens[1 + j]
    tokens = torch.cat([tokens[:1], placed])
    weights = (own[f"transmil.second.{name}.weight"] for name in ("query", "key", "value"))
    added, attention = attend(norm("second", tokens), *weights, "second")
    return norm("final", tokens[0] + added[0]), attention


@pytest.mark.parametrize(("width", "heads"), [(8, 2), (5, 1)])
def test_transmil_is_the_whole_two_layers(width, heads, bags):
    x, _, _ = bags
    head, parameters, runs = made(Transmil1dSpec(width=width, heads=heads))
    pooled, attention = head.pool(parameters, *bags)
    for run, own in enumerate(runs):
        for bag in range(BAGS):
            order = downwards(bag, *bags)
            expected, weights = transmil(own, x[bag, order], heads)
            near(pooled[run, bag], expected)
            near(attention[run, bag][order], weights)


def test_convolution_is_pytorchs_and_its_backward_the_derivative():
    generator = torch.Generator().manual_seed(1)
    x, kernel = (
        torch.randn(size, dtype=torch.float64, generator=generator).requires_grad_()
        for size in ((2, 3, 4, 5), (2, 5, 7))
    )
    found = AlongSlices.apply(x, kernel)
    for run in range(2):
        given = (x[run].transpose(1, 2), kernel[run].unsqueeze(1))
        near(found[run], torch.nn.functional.conv1d(*given, padding=3, groups=5).transpose(1, 2))
    assert torch.autograd.gradcheck(AlongSlices.apply, (x, kernel))
