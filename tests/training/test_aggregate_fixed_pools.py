"""Pools with nothing to learn against their formulas, number by number, and what their attention means."""

import math

import numpy as np
import pytest
import torch

from aggregate.bags.bags import Bags
from aggregate.heads.concat import ConcatSpec
from aggregate.heads.concat_logistic import ConcatLogisticSpec
from aggregate.heads.lse import LseSpec
from aggregate.heads.max import MaxSpec
from aggregate.heads.mean_max import MeanMaxSpec
from aggregate.heads.topk import TopkSpec
from aggregate.losses.registry import LossSpec
from aggregate.training.feeding.inputs import PooledInputs, make_inputs
from aggregate.training.solving.logistic import solve_chosen
from aggregate.training.spec import TrainSpec
from aggregate.training.stacked import RunSpec, train_stacked
from cache_schema.common.errors import SlicecacheError

pytestmark = pytest.mark.numerics

DIM, CLASSES, BAGS, SLICES, RUNS = 11, 3, 5, 7, 3


@pytest.fixture
def bags() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Bags with gaps between kept slices, heights in no order, and level values."""
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(BAGS, SLICES, DIM, dtype=torch.float64, generator=generator)
    keep = torch.rand(BAGS, SLICES, generator=generator) < 0.6
    keep[:, 2], keep[1] = True, torch.arange(SLICES) == 2
    x[0, :, 0], x[3, :, 1] = 0.5, x[3, :, 1].round()
    height = 150 * torch.rand(BAGS, SLICES, dtype=torch.float64, generator=generator)
    return x, keep, height


def pooled_by(spec, bags):
    """Pooled vectors and attention of a head that reads raw tokens."""
    head = spec.model_copy(update={"centre": False}).build(DIM, CLASSES)
    pooled, attention = head.pool(head.init([0], torch.float64), *bags)
    assert pooled.shape == (1, BAGS, head.pooled_dim)
    return pooled[0], attention[0]


def top(values: list[float], k: int) -> tuple[float, list[float]]:
    """The mean of the k highest of a few numbers, and their weights; those level at the limit share."""
    limit = sorted(values, reverse=True)[k - 1]
    above, level = [v > limit for v in values], [v == limit for v in values]
    each = (k - sum(above)) / sum(level)
    weights = [(1.0 if a else each if e else 0.0) / k for a, e in zip(above, level, strict=True)]
    return sum(sorted(values, reverse=True)[:k]) / k, weights


def soft(values: list[float], r: float) -> tuple[float, list[float]]:
    """(1/r) log mean exp(r v), and what each number moves of it."""
    total = sum(math.exp(r * v) for v in values)
    return math.log(total / len(values)) / r, [math.exp(r * v) / total for v in values]


FORMULAS = [
    (MaxSpec(), lambda values: top(values, 1)),
    (TopkSpec(k=2), lambda values: top(values, min(2, len(values)))),
    (TopkSpec(share=0.5), lambda values: top(values, math.ceil(len(values) / 2))),
    (TopkSpec(share=1), lambda values: top(values, len(values))),
    (LseSpec(r=0.7), lambda values: soft(values, 0.7)),
]


@pytest.mark.parametrize(("spec", "formula"), FORMULAS, ids=["max", "top 2", "top half", "top all", "lse"])
def test_each_number_is_pooled_by_the_formula(spec, formula, bags):
    x, keep, _ = bags
    pooled, attention = pooled_by(spec, bags)
    for bag in range(BAGS):
        h = x[bag][keep[bag]]
        shares = torch.zeros(len(h), dtype=torch.float64)
        for number in range(DIM):
            value, weights = formula(h[:, number].tolist())
            assert float(pooled[bag, number]) == pytest.approx(value, rel=0, abs=1e-12)
            shares += torch.tensor(weights, dtype=torch.float64) / DIM
        torch.testing.assert_close(attention[bag][keep[bag]], shares, rtol=0, atol=1e-12)
        assert not attention[bag][~keep[bag]].any()


def test_share_of_slices_is_rounded_up_and_not_by_what_binary_adds():
    x = torch.arange(35.0, dtype=torch.float64).view(1, 35, 1)
    keep = torch.ones(1, 35, dtype=torch.bool)
    head = TopkSpec(share=0.2, centre=False).build(1, 2)
    attention = head.pool({}, x, keep, x[..., 0])[1]
    assert int((attention > 0).sum()) == 7
    attention = head.pool({}, x[:, :31], keep[:, :31], x[:, :31, 0])[1]
    assert int((attention > 0).sum()) == 7


def test_mean_and_maximum_stand_side_by_side(bags):
    x, keep, _ = bags
    pooled, attention = pooled_by(MeanMaxSpec(), bags)
    highest, wins = pooled_by(MaxSpec(), bags)
    for bag in range(BAGS):
        h = x[bag][keep[bag]]
        torch.testing.assert_close(pooled[bag], torch.cat([h.mean(0), highest[bag]]), rtol=0, atol=1e-12)
        expected = (1 / len(h) + wins[bag][keep[bag]]) / 2
        torch.testing.assert_close(attention[bag][keep[bag]], expected, rtol=0, atol=1e-12)


def test_soft_maximum_counts_in_units_of_the_tokens_that_it_reads(bags):
    """Each run has a scale of its own, and pools are made once, run by run."""
    x, keep, height = bags
    head = LseSpec(r=2.0).build(DIM, CLASSES)
    parameters = head.init(range(RUNS), torch.float64)
    scale = parameters["input.scale"] = torch.tensor([0.5, 1.5, 0.5], dtype=torch.float64)
    mean = parameters["input.mean"] = torch.randn(RUNS, DIM, dtype=torch.float64)
    inputs = make_inputs(head, parameters, x, keep, height)
    assert isinstance(inputs, PooledInputs)
    raw = LseSpec(r=2.0, centre=False).build(DIM, CLASSES)
    for run in range(RUNS):
        expected = raw.pool({}, (x - mean[run]) * scale[run], keep, height)[0][0]
        found = (inputs.vectors[run] - mean[run]) * scale[run]
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_slices_are_interpolated_at_the_grids_heights(bags):
    x, keep, height = bags
    spec = ConcatLogisticSpec(points=9, from_vertex_mm=(-10, 160))
    pooled, attention = pooled_by(spec, bags)
    for bag in range(BAGS):
        slices = sorted((float(height[bag, i]), i) for i in range(SLICES) if keep[bag, i])
        weights = torch.zeros(9, SLICES, dtype=torch.float64)
        for point in range(9):
            mm = -10 + point * 170 / 8
            above = [pair for pair in slices if pair[0] < mm]
            below = [pair for pair in slices if pair[0] >= mm]
            if above and below:
                (a, i), (b, j) = above[-1], below[0]
                weights[point, i] += (b - mm) / (b - a)
                weights[point, j] += (mm - a) / (b - a)
            else:
                weights[point, (above[-1:] or below[:1])[0][1]] = 1
        torch.testing.assert_close(pooled[bag], (weights @ x[bag]).flatten(), rtol=0, atol=1e-10)
        torch.testing.assert_close(attention[bag], weights.mean(0), rtol=0, atol=1e-12)


def test_slices_of_one_height_are_no_division_by_nothing():
    x = torch.randn(1, 4, DIM, dtype=torch.float64)
    keep = torch.tensor([[True, True, True, False]])
    head = ConcatLogisticSpec(points=3, from_vertex_mm=(0, 10), centre=False).build(DIM, CLASSES)
    pooled, attention = head.pool({}, x, keep, torch.tensor([[5.0, 5.0, 5.0, 0.0]], dtype=torch.float64))
    assert pooled.isfinite().all()
    assert attention[0, 0, 3] == 0
    assert float(attention.sum()) == pytest.approx(1)


@pytest.mark.parametrize("spec", [ConcatLogisticSpec(points=4), MeanMaxSpec(), LseSpec(r=2)])
def test_a_fixed_pool_starts_and_ends_as_logistic_regression_on_its_vectors(spec):
    generator = torch.Generator().manual_seed(6)
    n = 40
    y = torch.arange(n) % 2
    keep = torch.arange(SLICES) < torch.randint(1, SLICES + 1, (n, 1), generator=generator)
    x = (torch.randn(n, SLICES, DIM, generator=generator).double() + 0.5 * y.view(-1, 1, 1)) * keep.unsqueeze(
        -1
    )
    height = 20.0 * torch.arange(SLICES).expand(n, -1).double() * keep
    rows = np.arange(30)
    run = RunSpec("c", 0, 0, 0, spec, LossSpec(), TrainSpec(), rows, np.array([], dtype=np.int64))
    (trained,) = train_stacked(Bags(x, keep, height), y, torch.ones(n).double(), 2, [run], torch.float64)
    head = spec.build(DIM, 2)
    state = {name: value.unsqueeze(0) for name, value in trained.state.items()}
    found = head(state, x, keep, height).logits[0].log_softmax(-1).numpy()
    vectors = head.pool(state, x, keep, height)[0][0].numpy()
    people = np.arange(30)
    labels = y.numpy()
    solved = solve_chosen(vectors[rows], labels[rows], np.ones(30), people, labels[rows], 2)
    np.testing.assert_allclose(found, solved.log_probabilities(vectors), rtol=0, atol=1e-4)


def test_concat_puts_slices_one_behind_the_other_from_the_vertex(bags):
    x, keep, height = bags
    pooled, attention = pooled_by(ConcatSpec(slices=8), bags)
    for bag in range(BAGS):
        own = sorted(torch.nonzero(keep[bag])[:, 0].tolist(), key=lambda i: float(height[bag, i]))
        wanted = torch.cat([x[bag, own].flatten(), x.new_zeros((8 - len(own)) * DIM)])
        assert torch.equal(pooled[bag], wanted)
        assert attention[bag].tolist() == [float(k) / len(own) for k in keep[bag]]
    with pytest.raises(SlicecacheError, match=r"slices is 2, but a bag has \d; raise it"):
        pooled_by(ConcatSpec(slices=2), bags)
