"""Products of slices: each within its tolerance of float64, chosen by measuring, written down, obeyed."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from aggregate.bags.bags import Bags
from aggregate.heads.attention import AttentionPool, AttentionSpec
from aggregate.heads.gated_attention import GatedAttentionPool
from aggregate.heads.mean import MeanSpec
from aggregate.heads.multiply import EXACT, PRODUCTS, TOLERANCE, Product, available, multiplied_by, multiply
from aggregate.heads.products import tanh_shifted_
from aggregate.losses.registry import LossSpec
from aggregate.train import products
from aggregate.train.products import FILE, product_for
from aggregate.training import probe as probing
from aggregate.training.probe import Probe, Shape, Work, probe, shapes_of
from aggregate.training.spec import TrainSpec
from aggregate.training.stacked import RunSpec, apply_head, train_stacked
from cache_schema.common.errors import SlicecacheError

pytestmark = pytest.mark.numerics
LARGE = Shape(64, 384, 800)
NONE = np.array([], dtype=np.int64)


def factors(rows: int, inner: int, columns: int, transposed: bool) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(rows)
    a = torch.randn(rows, inner, dtype=torch.float64, generator=generator)
    b = torch.randn(inner, columns, dtype=torch.float64, generator=generator)
    return a, b.T.contiguous().T if transposed else b


@pytest.mark.parametrize("product", PRODUCTS)
@pytest.mark.parametrize("shape", [(1, 13, 1), (7, 384, 50), (160, 384, 801), (33, 2001, 64)])
@pytest.mark.parametrize("transposed", [False, True])
def test_every_product_is_within_its_tolerance_of_float64(
    product: Product, shape: tuple[int, int, int], transposed: bool
) -> None:
    a, b = factors(*shape, transposed)
    with multiplied_by(product):
        found = multiply(a.float(), b.float())
        assert torch.equal(multiply(a, b), a @ b)  # float64 has no choice
    assert found.dtype == torch.float32
    assert (found - a @ b).norm() <= TOLERANCE[product] * (a @ b).norm()


def test_the_choice_ends_where_it_was_made() -> None:
    a, b = (part.float() for part in factors(9, 40, 30, False))
    own = multiply(a, b)
    with multiplied_by("bfloat16"):
        assert not torch.equal(multiply(a, b), own)
    assert torch.equal(multiply(a, b), own)


def test_tanh_by_a_sigmoid_is_tanh() -> None:
    x, shift = torch.linspace(-30, 30, 4000, dtype=torch.float64).view(2, 4, 500), torch.ones(2, 4).double()
    x[0, 0, :3] = torch.tensor([0.0, 1e-9, torch.inf])
    expected = torch.tanh(x + shift.unsqueeze(2))
    assert torch.allclose(tanh_shifted_(x.clone(), shift), expected, rtol=0, atol=4e-16)
    single = tanh_shifted_(x.float(), shift.float())
    assert torch.allclose(single.double(), expected, rtol=0, atol=4e-7)


@pytest.mark.parametrize("product", PRODUCTS)
@pytest.mark.parametrize(("pool", "layers"), [(AttentionPool, 1), (GatedAttentionPool, 2)])
def test_gradients_of_pools_are_within_tolerance_of_float64(
    product: Product, pool: type[torch.autograd.Function], layers: int
) -> None:
    generator = torch.Generator().manual_seed(3)
    shapes = [(3, 8 * layers, 96), (3, 8 * layers), (3, 8)]
    given = [torch.randn(shape, dtype=torch.float64, generator=generator) / 8 for shape in shapes]
    x = torch.randn(6, 11, 96, dtype=torch.float64, generator=generator)
    keep = torch.arange(11) < torch.tensor([[11], [3], [1], [8], [11], [5]])

    def gradients(dtype: torch.dtype) -> list[torch.Tensor]:
        leaves = [value.to(dtype).requires_grad_() for value in given]
        pooled, _ = pool.apply(*leaves, x.to(dtype), x.to(dtype), keep)
        return list(torch.autograd.grad(pooled.square().sum(), leaves))

    with multiplied_by(product):
        found = gradients(torch.float32)
    for ours, exact in zip(found, gradients(torch.float64), strict=True):
        # The forward pass and the backward pass both round.
        assert (ours - exact).norm() <= 10 * TOLERANCE[product] * exact.norm()


def cohort(dtype: torch.dtype) -> tuple[Bags, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(4)
    n, slices, dim = 60, 7, 32
    y = torch.arange(n) % 2
    x = torch.randn(n, slices, dim, dtype=torch.float64, generator=generator)
    x[..., :3] += 0.9 * y[:, None, None] * (torch.arange(slices) == 2)[None, :, None]
    keep = torch.ones(n, slices, dtype=torch.bool)
    return Bags(x.to(dtype), keep, torch.zeros(n, slices)), y, torch.ones(n, dtype=dtype)


def run(product: Product | str, rows: np.ndarray) -> RunSpec:
    train = TrainSpec(products=product, patience=None, epochs=60)
    return RunSpec("c", 0, 0, 0, AttentionSpec(hidden=8), LossSpec(), train, rows, NONE)


def logits(product: Product | str, dtype: torch.dtype) -> torch.Tensor:
    bags, y, weight = cohort(dtype)
    spec = run(product, np.arange(40))
    (trained,) = train_stacked(bags, y, weight, 2, [spec], dtype)
    head = spec.head.build(bags.x.shape[2], 2)
    said = apply_head(head, [trained.state], bags).logits[0].double()
    return said[:, 1] - said[:, 0]


@pytest.mark.parametrize("product", PRODUCTS)
def test_what_is_learnt_is_that_of_float64(product: Product) -> None:
    exact = logits("torch", torch.float64)
    found = logits(product, torch.float32)
    assert (found - exact).std() <= (0.05 if product == "bfloat16" else 0.005) * exact.std()
    order, expected = (values[40:, None] < values[None, 40:] for values in (found, exact))
    assert (order != expected).double().mean() <= 0.01


def test_a_product_changes_runs_alone_that_ask_for_it() -> None:
    bags, y, weight = cohort(torch.float32)
    rows = np.arange(40)
    together = train_stacked(bags, y, weight, 2, [run("torch", rows), run("bfloat16", rows)])
    for ours, product in zip(together, ("torch", "bfloat16"), strict=True):
        (alone,) = train_stacked(bags, y, weight, 2, [run(product, rows)])
        assert all(torch.equal(value, alone.state[name]) for name, value in ours.state.items())
    names = ("attention.project.weight", "classifier.weight")
    assert any(not torch.equal(together[0].state[name], together[1].state[name]) for name in names)


def test_the_fastest_exact_product_is_taken_and_noise_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    rates = {"torch": 1.0, "onednn": 0.8, "bfloat16": 0.1}
    monkeypatch.setattr(probing, "available", lambda: PRODUCTS)
    monkeypatch.setattr(probing, "_timed", lambda shape, products: {p: rates[p] for p in products})
    assert probe([LARGE]).taken == "onednn"
    rates["onednn"] = 0.99
    assert probe([LARGE]).taken == "torch"
    rates["onednn"] = 3.0
    assert probe([LARGE]).taken == "torch"
    assert probe([]) == Probe(taken="torch") == probe([Shape(5, 13, 40)])


def test_the_probe_really_measures() -> None:
    found = probe([LARGE])
    assert found.taken in EXACT
    assert found.gflops.keys() == set(available())
    assert all(0 < value < 1e5 for value in found.gflops.values())


def test_shapes_are_those_of_the_widest_stream() -> None:
    runs = [run("torch", np.arange(40)), run("torch", np.arange(40)), run("torch", np.arange(1, 41))]
    found = shapes_of([Work(MeanSpec(), runs, 7, 32), Work(AttentionSpec(hidden=8), runs, 7, 32)])
    assert found == [Shape(16, 32, 280), Shape(16, 280, 32)]
    assert shapes_of([Work(MeanSpec(), runs, 7, 32)]) == []


def test_what_is_written_is_obeyed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = [Work(AttentionSpec(hidden=64), [run("torch", np.arange(40))], 50, 384)]
    monkeypatch.setattr(products, "probe", lambda shapes: Probe(taken="onednn", gflops={"torch": 1.0}))
    monkeypatch.setattr("aggregate.heads.multiply.available", lambda: PRODUCTS)
    assert product_for(tmp_path, work, torch.float32, keep=False) == "onednn"
    assert not (tmp_path / FILE).exists()
    assert product_for(tmp_path, work, torch.float32) == "onednn"
    assert json.loads((tmp_path / FILE).read_text())["taken"] == "onednn"
    monkeypatch.setattr(products, "probe", lambda shapes: pytest.fail("measured again"))
    assert product_for(tmp_path, work, torch.float32) == "onednn"
    monkeypatch.setattr("aggregate.heads.multiply.available", lambda: ("torch",))
    with pytest.raises(SlicecacheError, match=r"'onednn', which torch .* does not have on this machine"):
        product_for(tmp_path, work, torch.float32)
    (tmp_path / FILE).write_text('{"taken": "mkl"}')
    with pytest.raises(SlicecacheError, match=r"products\.json should say .* remove it"):
        product_for(tmp_path, work, torch.float32)
