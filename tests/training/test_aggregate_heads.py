"""Laws that every head passes, and what specs refuse."""

import numpy as np
import pytest
import torch
from pydantic import BaseModel, TypeAdapter, ValidationError

from aggregate.config.section import parse_section
from aggregate.heads.attention import AttentionSpec
from aggregate.heads.base import Head, require_slices
from aggregate.heads.centring import fit_centring, sum_bags
from aggregate.heads.mean import MeanSpec
from aggregate.heads.registry import HEADS, HeadSpec
from aggregate.losses.registry import LossSpec
from cache_schema.common.errors import ConfigError, SlicecacheError

pytestmark = pytest.mark.numerics

DIM, CLASSES, BAGS, SLICES, RUNS = 12, 3, 5, 7, 3
FITTED = {"input.mean", "input.scale"}
EXAMPLES = [spec for kind in HEADS for spec in kind.examples()]
SPECS = EXAMPLES + [spec.model_copy(update={"centre": False}) for spec in EXAMPLES if spec.centre]


def spec_id(spec: BaseModel) -> str:
    given = spec.model_dump()
    variant = "-".join(str(given[name]) for name in ("queries", "positions") if name in given)
    return "-".join(
        (given["kind"], variant, str(len(given["embedding"])), "centred" if given["centre"] else "raw")
    )


@pytest.fixture(params=SPECS, ids=spec_id)
def head(request: pytest.FixtureRequest) -> Head:
    built: Head = request.param.build(DIM, CLASSES)
    return built


@pytest.fixture
def parameters(head: Head) -> dict[str, torch.Tensor]:
    drawn = head.init(range(1, RUNS + 1), torch.float64)
    if head.spec.centre:
        generator = torch.Generator().manual_seed(5)
        drawn["input.mean"] = torch.randn(RUNS, DIM, dtype=torch.float64, generator=generator)
        drawn["input.scale"] = 0.5 + torch.rand(RUNS, dtype=torch.float64, generator=generator)
    return drawn


@pytest.fixture
def bags() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(BAGS, SLICES, DIM, dtype=torch.float64, generator=generator)
    keep = torch.arange(SLICES) < torch.tensor([7, 1, 3, 5, 2]).unsqueeze(1)
    height = 150 * torch.rand(BAGS, SLICES, dtype=torch.float64, generator=generator)
    return x.masked_fill(~keep.unsqueeze(-1), 0), keep, height


def test_order_of_slices_has_the_declared_effect(head, parameters, bags):
    x, keep, height = bags
    order = torch.tensor([4, 0, 6, 2, 5, 1, 3])
    first = head(parameters, x, keep, height)
    second = head(parameters, x[:, order], keep[:, order], height[:, order])
    equal = torch.allclose(first.logits, second.logits, rtol=0, atol=1e-12)
    assert equal == head.permutation_invariant
    if equal:
        torch.testing.assert_close(first.attention[..., order], second.attention, rtol=0, atol=1e-12)


def test_equal_slices_get_equal_attention_unless_declared(head, parameters, bags):
    x, keep, height = bags
    same = x[:, :1].expand_as(x)
    attention = head(parameters, same, keep, height).attention
    uniform = keep.double() / keep.sum(-1, keepdim=True)
    equal = torch.allclose(attention, uniform.expand_as(attention), rtol=0, atol=1e-12)
    assert equal == head.attends_by_content


def test_bag_without_slices_is_refused(head, parameters, bags):
    x, keep, height = bags
    empty = keep.clone()
    empty[2] = False
    with pytest.raises(SlicecacheError, match="no kept slice, the first at bag 2"):
        head(parameters, x, empty, height)
    with pytest.raises(SlicecacheError, match="1 bag"):
        require_slices(empty)


def test_gradient_reaches_every_trainable_parameter(head, parameters, bags):
    leaves = {name: value.requires_grad_(name in head.trainable) for name, value in parameters.items()}
    found = head(leaves, *bags)
    value = found.logits.square().sum()
    if head.has_auxiliary:
        y = torch.arange(BAGS) % CLASSES
        value = value + head.auxiliary(leaves, head.prepare(*bags), *bags[1:], found.attention, y).sum()
    value.backward()
    fixed = set(head.pool_shapes()) if head.pool_is_fixed else set()
    assert set(leaves) - FITTED - fixed == head.trainable
    for name in head.trainable:
        value = leaves[name]
        assert value.grad is not None, name
        assert (value.grad.flatten(1).abs().sum(1) > 0).all(), name


def test_init_is_linears_own_and_each_runs_own(head):
    together = head.init([5, 8, 13], torch.float64)
    alone = head.init([8], torch.float64)
    assert {name: tuple(v.shape[1:]) for name, v in together.items()} == head.shapes
    for name, value in together.items():
        assert torch.equal(value[1], alone[name][0]), name
        if name in FITTED:
            continue
        if ".norm_" in name:
            assert (value == name.endswith("weight")).all(), name
            continue
        assert not torch.equal(value[0], value[1]), name
        if ".token." in name:
            assert 0.005 < float(value.std()) < 0.03, name
            continue
        inputs = head.shapes[name.rpartition(".")[0] + ".weight"][-1]
        assert float(value.abs().max()) <= inputs**-0.5, name
    single = head.init([8], torch.float32)
    assert all(torch.equal(single[name], alone[name].float()) for name in alone)


def test_init_fills_linears_range():
    weight = AttentionSpec().build(384, 2).init([0], torch.float64)["attention.project.weight"]
    bound = 384**-0.5
    assert float(weight.max()) > 0.99 * bound
    assert float(weight.std()) == pytest.approx(bound / 3**0.5, rel=0.02)


def test_spec_survives_json(head):
    adapter = TypeAdapter(HeadSpec)
    again = adapter.validate_json(head.spec.model_dump_json())
    assert again == head.spec
    assert again.build(DIM, CLASSES).shapes == head.shapes


def test_published_sizes():
    shapes = AttentionSpec(embedding=(256, 128), centre=False).build(384, 2).shapes
    counts: dict[str, int] = {}
    for name, shape in shapes.items():
        part = name.partition(".")[0]
        counts[part] = counts.get(part, 0) + int(torch.Size(shape).numel())
    # The published attention has 24,705: one more, the bias under the softmax.
    assert counts == {"attention": 24_704, "embedding": 131_456, "classifier": 258}


def test_training_the_embedding_alone():
    head = AttentionSpec(train="embedding", embedding=(6, 4)).build(DIM, 2)
    assert {name.partition(".")[0] for name in head.trainable} == {"embedding"}
    assert head.pool_is_fixed
    assert MeanSpec().build(DIM, 2).pool_is_fixed
    assert not AttentionSpec().build(DIM, 2).pool_is_fixed
    assert not [spec for spec in SPECS if spec.build(DIM, 2).pool_is_fixed == spec.learned_pool]


@pytest.mark.parametrize(
    "given",
    [
        {"kind": "attention", "embedding": "none", "train": "embedding"},
        {"kind": "attention", "embedding": [0]},
        {"kind": "mean", "hidden": 3},
        {"kind": "query", "queries": 0},
        {"kind": "mst", "centre": True},
        {"kind": "mst", "positions": "absolute"},
        {"kind": "centre_gaussian", "sigma": 0},
        {"kind": "transmil_1d", "width": 12, "heads": 5},
        {"kind": "concat_logistic", "from_vertex_mm": [90, 20]},
        {"kind": "concat_logistic", "from_vertex_mm": [10, float("inf")]},
        {"kind": "nothing"},
    ],
)
def test_impossible_heads_are_refused(given):
    with pytest.raises(ValidationError):
        TypeAdapter(HeadSpec).validate_python(given)


@pytest.mark.parametrize("none", ["none", None, []])
def test_no_embedding_has_three_spellings(none):
    assert TypeAdapter(HeadSpec).validate_python({"kind": "mean", "embedding": none}).embedding == ()


def parse(head, loss):
    return parse_section({"cohort": "c.tsv", "target": "y", "head": head, "loss": loss})


def test_contrastive_loss_needs_something_to_train():
    for loss in (LossSpec(supcon=1.0), LossSpec(class_variance=0.1)):
        with pytest.raises(ConfigError, match="nothing trainable below"):
            parse({"kind": "mean"}, loss)
        parse({"kind": "attention"}, loss)
        parse({"kind": "mean", "embedding": [6]}, loss)
    parse({"kind": "mean"}, LossSpec())
    with pytest.raises(ConfigError, match="every weight is 0"):
        parse({"kind": "attention"}, LossSpec(cross_entropy=0.0))


@pytest.mark.parametrize("spec", [spec for spec in SPECS if spec.centre and spec.embedding], ids=spec_id)
def test_centring_equals_centring_every_token(spec, bags):
    x, keep, height = bags
    raw, ours = (spec.model_copy(update={"centre": centre}).build(DIM, CLASSES) for centre in (False, True))
    parameters = raw.init(range(RUNS), torch.float64)
    generator = torch.Generator().manual_seed(8)
    mean = torch.randn(RUNS, DIM, dtype=torch.float64, generator=generator)
    scale = 0.5 + torch.rand(RUNS, dtype=torch.float64, generator=generator)
    found = ours(parameters | {"input.mean": mean, "input.scale": scale}, x, keep, height)
    for run in range(RUNS):
        alone = {name: value[run : run + 1] for name, value in parameters.items()}
        expected = raw(alone, (x - mean[run]) * scale[run], keep, height)
        torch.testing.assert_close(found.logits[run], expected.logits[0], rtol=0, atol=1e-12)
        torch.testing.assert_close(found.attention[run], expected.attention[0], rtol=0, atol=1e-12)


def test_centring_is_fitted_on_the_slices_of_the_training_bags(bags):
    x, keep = bags[0], bags[1]
    rows = [np.array([0, 2]), np.array([1, 3, 4])]
    found = fit_centring(sum_bags(x, keep), rows, torch.float64)
    for run, chosen in enumerate(rows):
        slices = torch.stack([x[bag, i] for bag in chosen for i in range(SLICES) if keep[bag, i]])
        mean = slices.mean(0)
        spread = (slices - mean).square().mean()
        torch.testing.assert_close(found["input.mean"][run], mean, rtol=0, atol=1e-12)
        torch.testing.assert_close(found["input.scale"][run], spread.rsqrt(), rtol=0, atol=1e-12)
    every = sum_bags(torch.full_like(x, 3.7), torch.ones_like(keep))
    flat = fit_centring(every, rows, torch.float64)
    assert flat["input.scale"].tolist() == [1.0, 1.0]
