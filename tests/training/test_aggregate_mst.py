"""The folded MST fusion against a whole transformer layer, and its positions against written-out loops."""

import math

import pytest
import torch
from torch import nn

from aggregate.heads.mst import MstSpec
from aggregate.heads.mst_layer import LEARNED_POSITIONS, MstHead
from aggregate.heads.positions import sinusoids, turned_back
from cache_schema.common.errors import ConfigError, SlicecacheError

pytestmark = pytest.mark.numerics

DIM, HEADS, BAGS, SLICES, RUNS, CLASSES = 12, 2, 5, 7, 3, 4
WIDTH = DIM // HEADS
POSITIONS = ("none", "learned", "sinusoidal", "rotary")


@pytest.fixture(params=[(7, 1, 3, 5, 2), (7, 7, 7, 7, 7)], ids=["padded", "full"])
def bags(request) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    x = 2 + torch.randn(BAGS, SLICES, DIM, dtype=torch.float64, generator=generator)
    keep = torch.arange(SLICES) < torch.tensor(request.param).unsqueeze(1)
    height = 150 * torch.rand(BAGS, SLICES, dtype=torch.float64, generator=generator)
    return x.masked_fill(~keep.unsqueeze(-1), 0), keep, height


def made(positions: str) -> tuple[MstHead, dict[str, torch.Tensor]]:
    """A head with every parameter away from its start, so that nothing agrees by being 0 or 1."""
    head = MstSpec(heads=HEADS, positions=positions).build(DIM, CLASSES)
    generator = torch.Generator().manual_seed(11)
    parameters = {
        name: value + 0.3 * torch.randn(value.shape, dtype=torch.float64, generator=generator)
        for name, value in head.init(range(RUNS), torch.float64).items()
    }
    return head, parameters


def unfolded(own: dict[str, torch.Tensor]) -> tuple[nn.TransformerEncoder, nn.Linear]:
    """PyTorch's own pre-norm layer with one run's weights, and the classifier."""
    layer = nn.TransformerEncoderLayer(
        DIM, HEADS, dim_feedforward=DIM, dropout=0.0, activation="relu", batch_first=True, norm_first=True
    )
    encoder = nn.TransformerEncoder(layer, 1, norm=nn.LayerNorm(DIM), enable_nested_tensor=False).double()
    classifier = nn.Linear(DIM, CLASSES).double()
    key_bias = own.get("mst.key.bias", torch.full((DIM,), 0.7, dtype=torch.float64))
    inside = {
        "self_attn.in_proj_weight": torch.cat([own[f"mst.{n}.weight"] for n in ("query", "key", "value")]),
        "self_attn.in_proj_bias": torch.cat([own["mst.query.bias"], key_bias, own["mst.value.bias"]]),
    }
    named = {
        "self_attn.out_proj": "mst.output",
        "linear1": "mst.feed.0",
        "linear2": "mst.feed.1",
        "norm1": "mst.norm_attention",
        "norm2": "mst.norm_feed",
    }
    inside |= {f"{a}.{kind}": own[f"{b}.{kind}"] for a, b in named.items() for kind in ("weight", "bias")}
    state = {f"layers.0.{name}": value for name, value in inside.items()}
    state |= {f"norm.{kind}": own[f"mst.norm_final.{kind}"] for kind in ("weight", "bias")}
    encoder.load_state_dict(state)
    classifier.load_state_dict({kind: own[f"classifier.{kind}"] for kind in ("weight", "bias")})
    return encoder, classifier


def whole_layer(own, x, keep):
    """Logits, and the CLS row of the attention without its own column: (bag, class), (bag, slice)."""
    encoder, classifier = unfolded(own)
    tokens = torch.cat([own["mst.token.cls"].expand(len(x), 1, -1), x], 1)
    ignore = torch.cat([torch.zeros(len(x), 1, dtype=torch.bool), ~keep], 1)
    logits = classifier(encoder(tokens, src_key_padding_mask=ignore)[:, 0])
    normed = encoder.layers[0].norm1(tokens)
    attend = encoder.layers[0].self_attn
    _, weights = attend(normed, normed, normed, key_padding_mask=ignore, average_attn_weights=False)
    row = weights[:, :, 0, 1:]
    return logits, (row / row.sum(-1, keepdim=True)).mean(1)


def placed(positions, own, x, height):
    """The tokens with their positions added, element by element."""
    added = torch.zeros_like(x)
    for bag in range(BAGS):
        for i in range(SLICES):
            for j in range(DIM):
                if positions == "learned":
                    added[bag, i, j] = own["mst.token.positions"][i, j]
                elif positions == "sinusoidal":
                    angle = float(height[bag, i]) / 10_000 ** ((j - j % 2) / DIM)
                    added[bag, i, j] = math.cos(angle) if j % 2 else math.sin(angle)
    return x + added


@pytest.mark.parametrize("positions", ["none", "learned", "sinusoidal"])
def test_folded_equals_the_whole_layer(positions, bags):
    x, keep, height = bags
    head, parameters = made(positions)
    output = head(parameters, x, keep, height)
    for run in range(RUNS):
        own = {name: value[run] for name, value in parameters.items()}
        logits, attention = whole_layer(own, placed(positions, own, x, height), keep)
        torch.testing.assert_close(output.logits[run], logits, rtol=0, atol=1e-12)
        torch.testing.assert_close(output.attention[run], attention, rtol=0, atol=1e-12)


def rotated(vector, place):
    """One head's query or key at a place, pair by pair."""
    turned = []
    for pair in range(WIDTH // 2):
        angle = place * 256.0 ** (-2 * pair / WIDTH)
        a, b = vector[2 * pair], vector[2 * pair + 1]
        turned += [a * math.cos(angle) - b * math.sin(angle), a * math.sin(angle) + b * math.cos(angle)]
    return torch.stack(turned)


def rotary_bag(own, h):
    """Logits and attention of one bag by the definition: queries and keys turned, values not."""
    d = (DIM,)

    def norm(name, tokens):
        return nn.functional.layer_norm(tokens, d, own[f"mst.{name}.weight"], own[f"mst.{name}.bias"])

    def apply(name, tokens):
        return tokens @ own[f"mst.{name}.weight"].T + own[f"mst.{name}.bias"]

    tokens = torch.cat([own["mst.token.cls"].unsqueeze(0), h])
    normed = norm("norm_attention", tokens)
    q, k, v = (apply(name, normed).view(-1, HEADS, WIDTH) for name in ("query", "key", "value"))
    values, rows = [], []
    for head in range(HEADS):
        turned = [rotated(k[place, head], place) for place in range(len(tokens))]
        e = torch.stack([rotated(q[0, head], 0) @ key for key in turned]) / WIDTH**0.5
        a = e.softmax(0)
        values.append(a @ v[:, head])
        rows.append(a[1:] / a[1:].sum())
    y = tokens[0] + apply("output", torch.cat(values))
    y = y + apply("feed.1", apply("feed.0", norm("norm_feed", y)).clamp_min(0))
    logits = own["classifier.weight"] @ norm("norm_final", y) + own["classifier.bias"]
    return logits, torch.stack(rows).mean(0)


def test_rotary_equals_the_written_out_layer(bags):
    x, keep, height = bags
    head, parameters = made("rotary")
    output = head(parameters, x, keep, height)
    for run in range(RUNS):
        own = {name: value[run] for name, value in parameters.items()}
        for bag in range(BAGS):
            logits, attention = rotary_bag(own, x[bag][keep[bag]])
            torch.testing.assert_close(output.logits[run, bag], logits, rtol=0, atol=1e-12)
            found = output.attention[run, bag][keep[bag]]
            torch.testing.assert_close(found, attention, rtol=0, atol=1e-12)


def test_gradients_are_those_of_the_whole_layer(bags):
    x, keep, height = bags
    head, parameters = made("none")
    leaves = {name: value.clone().requires_grad_() for name, value in parameters.items()}
    head(leaves, x, keep, height).logits.square().sum().backward()
    for run in range(RUNS):
        own = {name: value[run].detach() for name, value in parameters.items()}
        encoder, classifier = unfolded(own)
        cls = own["mst.token.cls"].clone().requires_grad_()
        tokens = torch.cat([cls.expand(BAGS, 1, -1), x], 1)
        ignore = torch.cat([torch.zeros(BAGS, 1, dtype=torch.bool), ~keep], 1)
        classifier(encoder(tokens, src_key_padding_mask=ignore)[:, 0]).square().sum().backward()
        found = {name: leaf.grad[run] for name, leaf in leaves.items()}
        attend = encoder.layers[0].self_attn
        query, key, value = attend.in_proj_weight.grad.chunk(3)
        for name, expected in {
            "mst.token.cls": cls.grad,
            "mst.query.weight": query,
            "mst.key.weight": key,
            "mst.value.weight": value,
            "mst.query.bias": attend.in_proj_bias.grad[:DIM],
            "mst.value.bias": attend.in_proj_bias.grad[2 * DIM :],
            "mst.norm_attention.weight": encoder.layers[0].norm1.weight.grad,
            "mst.norm_attention.bias": encoder.layers[0].norm1.bias.grad,
            "mst.feed.0.weight": encoder.layers[0].linear1.weight.grad,
            "classifier.weight": classifier.weight.grad,
        }.items():
            torch.testing.assert_close(found[name], expected, rtol=0, atol=1e-11, msg=name)
        # Why the key's bias is left out: nothing ever moves it.
        assert float(attend.in_proj_bias.grad[DIM : 2 * DIM].abs().max()) < 1e-12


@pytest.mark.parametrize("positions", POSITIONS)
def test_gradients_are_the_derivative(positions, bags):
    """By differences, for two bags: of every vector and of what the slices meet first."""
    head, parameters = made(positions)
    x, keep, height = (part[:2] for part in bags)
    prepared = head.prepare(x, keep, height)
    own = {name: value[:1] for name, value in parameters.items()}
    names = [name for name in head.pool_shapes() if own[name].ndim == 2]
    names += [name for name in ("mst.key.weight", "mst.token.positions") if name in own]

    def pooled(*values):
        return head.pool(own | dict(zip(names, values, strict=True)), prepared, keep, height)

    given = [own[name].clone().requires_grad_() for name in names]
    assert torch.autograd.gradcheck(pooled, given, fast_mode=True)


def test_published_size():
    shapes = MstSpec().build(384, 2).shapes
    counts: dict[str, int] = {}
    for name, shape in shapes.items():
        part = "cls" if name == "mst.token.cls" else name.partition(".")[0]
        counts[part] = counts.get(part, 0) + math.prod(shape)
    # The published layer has 889,344 numbers: 384 more, the key's bias.
    assert counts == {"cls": 384, "mst": 889_344 - 384, "classifier": 770}
    assert "mst.key.bias" in MstSpec(positions="rotary").build(384, 2).shapes


def test_sinusoids_of_an_odd_width():
    height = torch.tensor([[0.0, 30.0]], dtype=torch.float64)
    found = sinusoids(height, 5)
    assert found.shape == (1, 2, 5)
    assert found[0, 0].tolist() == [0, 1, 0, 1, 0]
    assert float(found[0, 1, 4]) == pytest.approx(math.sin(30 / 10_000**0.8), abs=1e-12)


def test_turning_back_undoes_the_rotation():
    x = torch.randn(2, 3, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = turned_back(x, 4)
    for place in range(4):
        for run in range(2):
            for head in range(3):
                again = rotated(found[run, head, place], place)
                torch.testing.assert_close(again, x[run, head], rtol=0, atol=1e-12)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ConfigError, match=r"heads is 12, which does not divide the 20 numbers.*heads: 10"):
        MstSpec().build(20, 2)
    with pytest.raises(ConfigError, match="4 heads of 12 numbers have 3 each"):
        MstSpec(heads=4, positions="rotary").build(12, 2)
    with pytest.raises(ConfigError, match="bottleneck is 40, but a token has 12 numbers"):
        MstSpec(bottleneck=40).build(12, 2)
    head = MstSpec(positions="learned").build(12, 2)
    slices = LEARNED_POSITIONS + 1
    x, keep = torch.zeros(1, slices, 12), torch.ones(1, slices, dtype=torch.bool)
    with pytest.raises(SlicecacheError, match="know 256 slices, but a bag has 257"):
        head(head.init([0]), x, keep, torch.zeros(1, slices))


@pytest.mark.parametrize("positions", POSITIONS)
def test_a_bottleneck_is_a_linear_layer_before_the_whole(positions, bags):
    x, keep, height = bags
    narrow = MstSpec(heads=2, positions=positions, bottleneck=3).build(DIM, CLASSES)
    generator = torch.Generator().manual_seed(11)
    parameters = {
        name: value + 0.3 * torch.randn(value.shape, dtype=torch.float64, generator=generator)
        for name, value in narrow.init(range(RUNS), torch.float64).items()
    }
    found = narrow(parameters, x, keep, height)
    whole = MstSpec(heads=2, positions=positions).build(DIM // 3, CLASSES)
    assert narrow.shapes == {"mst.narrow.weight": (4, 12), "mst.narrow.bias": (4,)} | whole.shapes
    for run in range(RUNS):
        own = {name: value[run : run + 1] for name, value in parameters.items()}
        less = x @ own.pop("mst.narrow.weight")[0].T + own.pop("mst.narrow.bias")[0]
        wanted = whole(own, less, keep, height)
        torch.testing.assert_close(found.logits[run], wanted.logits[0], rtol=0, atol=1e-12)
        torch.testing.assert_close(found.attention[run], wanted.attention[0], rtol=0, atol=1e-12)
