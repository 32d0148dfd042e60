"""Terms on attention: their formulas, the way of their gradient into every head, and training with them."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from aggregate.bags.bags import Bags
from aggregate.config.section import parse_section
from aggregate.heads.attention import AttentionSpec
from aggregate.heads.base import HeadBase
from aggregate.heads.custom import CustomHeadSpec
from aggregate.heads.registry import HEADS
from aggregate.losses.attention_entropy import AttentionEntropySpec
from aggregate.losses.base import Attention, Batch
from aggregate.losses.normal_guidance import NormalGuidanceSpec
from aggregate.losses.registry import LossSpec
from aggregate.training.feeding.sampler import init_seed, order_stream, plain_batches
from aggregate.training.spec import TrainSpec
from aggregate.training.stacked import RunSpec, apply_head, train_stacked
from cache_schema.common.custom import give
from cache_schema.common.errors import ConfigError

pytestmark = pytest.mark.numerics

BAGS, SLICES, DIM = 29, 6, 12
KEPT = [6, 4, 1, 2, 5]


def slow_entropy(spec: AttentionEntropySpec, a: Tensor, heights: Tensor) -> Tensor:
    if len(a) == 1:
        return a.new_zeros(())
    even = sum(-one * torch.log(one) for one in a) / np.log(len(a))
    return 1 - even if spec.toward == "uniform" else even


def slow_guidance(spec: NormalGuidanceSpec, a: Tensor, heights: Tensor) -> Tensor:
    mean = sum(one * z for one, z in zip(a, heights, strict=True))
    variance = sum(one * (z - mean) ** 2 for one, z in zip(a, heights, strict=True))
    if float(variance.detach()) < spec.min_sd_mm**2:
        variance = torch.tensor(spec.min_sd_mm**2)
    bell = [torch.exp(-((z - mean) ** 2) / (2 * variance)) for z in heights]
    return sum(one * torch.log(one / (q / sum(bell))) for one, q in zip(a, bell, strict=True))


def given_attention() -> tuple[Tensor, Tensor, Tensor]:
    """Attention of two runs on five bags between two that fill the batch, keep and heights."""
    generator = torch.Generator().manual_seed(1)
    scores = torch.randn(2, 7, SLICES, dtype=torch.float64, generator=generator)
    keep = torch.arange(SLICES) < torch.tensor([3, *KEPT, 2]).unsqueeze(1)
    weights = scores.masked_fill(~keep, -torch.inf).softmax(-1)
    heights = 30 + torch.tensor([0.0, 4, 9, 13, 20, 31]).expand(2, 7, -1).double()
    return weights, keep.expand(2, 7, -1), heights


@pytest.mark.parametrize(
    ("specs", "slow"),
    [
        ([AttentionEntropySpec(), AttentionEntropySpec(toward="peak")], slow_entropy),
        ([NormalGuidanceSpec(), NormalGuidanceSpec(min_sd_mm=8.0)], slow_guidance),
    ],
)
def test_a_term_is_its_formula(specs, slow):
    weights, keep, heights = given_attention()
    weights.requires_grad_()
    bags = torch.tensor([[False, *[True] * 5, False]] * 2)
    logits = torch.zeros(2, 7, 2, dtype=torch.float64)
    batch = Batch(logits, logits, bags.long(), bags, bags.double(), Attention(weights, keep, heights))
    found = type(specs[0]).stacked(specs, torch.ones(2, 2))(batch)
    (gradient,) = torch.autograd.grad(found.sum(), weights)
    assert not gradient[:, [0, -1]].any()
    assert not gradient[~keep].any()
    for run, spec in enumerate(specs):
        total = torch.zeros((), dtype=torch.float64)
        alone = [weights[run, 1 + bag, :n].detach().clone().requires_grad_() for bag, n in enumerate(KEPT)]
        for bag, (a, n) in enumerate(zip(alone, KEPT, strict=True)):
            total = total + slow(spec, a, heights[run, 1 + bag, :n]) / len(KEPT)
        torch.testing.assert_close(found[run], total, rtol=0, atol=1e-10)
        slopes = torch.autograd.grad(total, alone, materialize_grads=True)
        for bag, slope in enumerate(slopes):
            ours = gradient[run, 1 + bag, : len(slope)]
            torch.testing.assert_close(ours, slope, rtol=0, atol=1e-10)


def test_a_bell_is_not_guided_and_two_foci_are():
    heights = torch.arange(0.0, 60, 2).double()
    bell = torch.exp(-((heights - 25) ** 2) / (2 * 6.0**2))
    two = torch.exp(-((heights - 10) ** 2) / 8) + torch.exp(-((heights - 50) ** 2) / 8)
    weights = torch.stack([bell / bell.sum(), two / two.sum()]).unsqueeze(0)
    keep = torch.ones_like(weights, dtype=torch.bool)
    bags = torch.ones(1, 2, dtype=torch.bool)
    for shown, low, high in ((0, -1e-12, 1e-6), (1, 0.5, 5)):
        batch = Batch(
            torch.zeros(1, 2, 2),
            torch.zeros(1, 2, 2),
            bags.long(),
            torch.arange(2).unsqueeze(0) == shown,
            bags.double(),
            Attention(weights, keep, heights.expand(weights.shape)),
        )
        value = float(NormalGuidanceSpec.stacked([NormalGuidanceSpec()], torch.ones(1, 2))(batch))
        assert low < value < high


LEARNED = [spec for kind in HEADS for spec in kind.examples() if spec.pool_learns]


@pytest.mark.parametrize("spec", LEARNED, ids=lambda spec: f"{spec.kind}")
def test_every_learned_pool_has_a_gradient_from_attention_and_vectors_together(spec):
    head = spec.build(DIM, 2)
    parameters = head.init([3, 4], torch.float64)
    names = [name for name in head.pool_shapes() if name in head.trainable]
    generator = torch.Generator().manual_seed(0)
    keep = torch.arange(SLICES) < torch.tensor(KEPT).unsqueeze(1)
    x = torch.randn(5, SLICES, DIM, dtype=torch.float64, generator=generator) * keep.unsqueeze(-1)
    heights = (10 + 8.0 * torch.arange(SLICES).expand(5, -1)).double() * keep
    tokens = head.prepare(x, keep, heights)
    shown = torch.randn(2, 5, SLICES, dtype=torch.float64, generator=generator)

    def value(own: dict[str, Tensor]) -> Tensor:
        vectors, attention = head.pool(own, tokens, keep, heights)
        return (attention * shown).sum() + vectors.sin().sum()

    leaves = {name: parameters[name].clone().requires_grad_() for name in names}
    given = list(leaves.values())  # an instance classifier of a head is not in its pool
    slopes = torch.autograd.grad(value(parameters | leaves), given, materialize_grads=True)
    aim = {name: torch.randn(leaf.shape, dtype=torch.float64) for name, leaf in leaves.items()}
    expected = sum(float((slope * aim[name]).sum()) for name, slope in zip(names, slopes, strict=True))
    step = 1e-6
    ahead, behind = (
        float(value(parameters | {name: parameters[name] + sign * step * aim[name] for name in names}))
        for sign in (1, -1)
    )
    assert (ahead - behind) / (2 * step) == pytest.approx(expected, rel=1e-5, abs=1e-6)
    _, attention = head.pool(parameters | leaves, tokens, keep, heights)
    assert attention.requires_grad


@pytest.fixture(scope="module")
def cohort() -> tuple[Bags, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(8)
    y = torch.arange(BAGS) % 2
    keep = torch.arange(SLICES) < torch.randint(1, SLICES + 1, (BAGS, 1), generator=generator)
    x = torch.randn(BAGS, SLICES, DIM, dtype=torch.float64, generator=generator)
    x[..., 0] += 0.7 * y.unsqueeze(1)
    heights = (8.0 + 6 * torch.arange(SLICES) + torch.rand(BAGS, 1, generator=generator)).double() * keep
    return Bags(x * keep.unsqueeze(-1), keep, heights), y, torch.ones(BAGS, dtype=torch.float64)


HEAD = AttentionSpec(hidden=5, centre=False)


def run(loss: dict[str, Any], head: HeadBase = HEAD, fold: int = 0, n_train: int = 20, **options: Any):
    order = np.random.default_rng(fold).permutation(BAGS)
    asked = {"start": "plain", "epochs": 5, "batch_size": 6, "learning_rate": 0.02, "patience": None}
    asked |= options
    given: Any = head
    spec = LossSpec.model_validate(loss)
    return RunSpec(str(loss), 0, fold, 0, given, spec, TrainSpec(**asked), order[:n_train], order[n_train:])


GUIDED = {"attention_entropy": {"weight": 0.4}, "normal_guidance": {"weight": 0.3, "min_sd_mm": 2.0}}


def test_training_is_that_of_plain_pytorch(cohort):
    bags, y, weight = cohort
    spec = run(GUIDED)
    (ours,) = train_stacked(bags, y, weight, 2, [spec], torch.float64)
    start = HEAD.build(DIM, 2).init([init_seed(0, 0, 0)], torch.float64)
    theirs = {name: value[0].clone().requires_grad_() for name, value in start.items()}
    optimiser = torch.optim.Adam(list(theirs.values()), lr=0.02)
    for epoch in range(5):
        for rows in plain_batches(spec.train_rows, 6, order_stream(0, 0, 0, epoch)):
            losses = []
            for row in rows[rows >= 0]:
                h, z = bags.x[row][bags.keep[row]], bags.height_mm[row][bags.keep[row]]
                tanh = torch.tanh(h @ theirs["attention.project.weight"].T + theirs["attention.project.bias"])
                a = (tanh @ theirs["attention.score.weight"]).softmax(0)
                logits = theirs["classifier.weight"] @ (a @ h) + theirs["classifier.bias"]
                entropy = slow_entropy(spec.loss.attention_entropy, a, z)
                guidance = slow_guidance(spec.loss.normal_guidance, a, z)
                losses.append(nn.functional.cross_entropy(logits, y[row]) + 0.4 * entropy + 0.3 * guidance)
            optimiser.zero_grad()
            torch.stack(losses).mean().backward()
            optimiser.step()
    for name, value in theirs.items():
        torch.testing.assert_close(ours.state[name], value.detach(), rtol=0, atol=1e-8, msg=name)


class Detached(nn.Module):
    """A head whose attention is for show, or that gives none."""

    def __init__(self, dim: int, shows: bool = True) -> None:
        super().__init__()
        self.score, self.shows = nn.Linear(dim, 1, bias=False), shows

    def forward(self, x, keep, height_mm):
        scores = self.score(x).squeeze(-1).masked_fill(~keep, -torch.inf)
        attention = scores.softmax(-1)
        return torch.einsum("bs,bsd->bd", attention, x), attention.detach() if self.shows else None


class Pool(Detached):
    """The same with its attention."""

    def forward(self, x, keep, height_mm):
        attention = self.score(x).squeeze(-1).masked_fill(~keep, -torch.inf).softmax(-1)
        return torch.einsum("bs,bsd->bd", attention, x), attention


def by(way: str, part: type = Pool, **options: Any) -> CustomHeadSpec:
    return CustomHeadSpec(target=give(part), options=options, stacking=way, centre=False)


def mixed(head: HeadBase, start: str) -> list[RunSpec]:
    """Runs of three streams, with and without terms on attention; one stops early."""
    peak = {"attention_entropy": {"toward": "peak", "weight": 2.0}}
    return [
        run({}, head, start=start),
        run(GUIDED, head, start=start),
        run(peak, head, fold=1, patience=1, start=start),
        run({"normal_guidance": 1.0}, head, fold=1, start=start),
        run({**GUIDED, "triplet": 0.5}, head, fold=2, n_train=14, start=start),
    ]


@pytest.mark.parametrize("start", ["plain", "baseline"])
@pytest.mark.parametrize(
    "make",
    [
        lambda: HEAD,
        lambda: AttentionSpec(hidden=5, embedding=(4,)),
        lambda: by("loop"),
        lambda: by("vmap"),
    ],
    ids=["attention", "with embedding", "loop", "vmap"],
)
def test_runs_train_together_as_alone(cohort, make: Callable[[], HeadBase], start: str):
    runs = mixed(make(), start)
    together = train_stacked(*cohort, 2, runs, torch.float64)
    for spec, ours in zip(runs, together, strict=True):
        (alone,) = train_stacked(*cohort, 2, [spec], torch.float64)
        assert ours.epochs == alone.epochs
        for name, value in ours.state.items():
            torch.testing.assert_close(value, alone.state[name], rtol=0, atol=1e-10, msg=name)
    moved = max(
        float((together[0].state[name] - value).abs().max()) for name, value in together[1].state.items()
    )
    assert moved > 1e-3


def test_attention_goes_where_a_term_pulls_it(cohort):
    bags, y, weight = cohort
    losses = [
        {},
        {"attention_entropy": {"weight": 5.0}},
        {"attention_entropy": {"weight": 5.0, "toward": "peak"}},
        {"normal_guidance": 5.0},
    ]
    runs = [run(loss, epochs=60) for loss in losses]
    trained = train_stacked(bags, y, weight, 2, runs, torch.float64)
    attention = apply_head(HEAD.build(DIM, 2), [one.state for one in trained], bags).attention
    rows = runs[0].train_rows
    reached = []
    for run_attention in attention:
        values = []
        for row in rows:
            a, z = run_attention[row][bags.keep[row]], bags.height_mm[row][bags.keep[row]]
            even = float(slow_entropy(AttentionEntropySpec(toward="peak"), a.clamp_min(1e-300), z))
            values.append((even, float(slow_guidance(NormalGuidanceSpec(), a.clamp_min(1e-300), z))))
        reached.append(np.mean(values, 0))
    plain, spread, sharp, guided = reached
    assert spread[0] > plain[0] > sharp[0]
    assert spread[0] > 0.99
    assert guided[1] < 0.5 * plain[1]


@pytest.mark.parametrize("name", ["attention_entropy", "normal_guidance"])
@pytest.mark.parametrize(
    "head",
    [
        {"kind": "mean", "embedding": [6]},
        {"kind": "centre_gaussian"},
        {"kind": "random_attention", "embedding": [6]},
        {"kind": "attention", "embedding": [6], "train": "embedding"},
    ],
    ids=lambda head: head["kind"],
)
def test_a_head_without_attention_that_trains_is_refused(cohort, head, name):
    data = {"cohort": "c.tsv", "target": "y", "head": head}
    with pytest.raises(ConfigError, match=f"{name} acts on the attention, but head .* has none that trains"):
        parse_section({**data, "loss": {name: 1.0}})
    spec = parse_section(data).head
    with pytest.raises(ConfigError, match="has none that trains"):
        train_stacked(*cohort, 2, [run({name: 0.5}, spec)], torch.float64)


@pytest.mark.parametrize("way", ["loop", "vmap"])
@pytest.mark.parametrize("shows", [True, False])
def test_a_strangers_head_without_attention_to_learn_is_refused(cohort, way, shows):
    runs = [run({"attention_entropy": 1.0}, by(way, Detached, shows=shows), fold=fold) for fold in range(2)]
    with pytest.raises(ConfigError, match="'Detached' gives none that training could change"):
        train_stacked(*cohort, 2, runs, torch.float64)
