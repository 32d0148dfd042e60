"""`train.device`: which it is, what is refused, and that training makes everything where the bags are."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from far_device import FAR, far_device
from pydantic import ValidationError

from aggregate.bags.bags import Bags
from aggregate.heads.attention import AttentionSpec
from aggregate.heads.registry import HEADS
from aggregate.losses.registry import LossSpec
from aggregate.train.products import DEVICE_FILE, FILE, device_for, settled
from aggregate.training import device as devices
from aggregate.training import stacked
from aggregate.training.device import device_of, settled_device
from aggregate.training.spec import TrainSpec
from aggregate.training.stacked import RunSpec, train_stacked
from cache_schema.common.errors import ConfigError, MachineError, SlicecacheError

pytestmark = pytest.mark.numerics
BAGS, SLICES, DIM = 23, 5, 12
KINDS = [spec for kind in HEADS for spec in kind.examples()[:1]]
LOSSES = ("supcon class_variance", "focal center", "triplet attention_entropy normal_guidance")


@pytest.fixture(scope="module")
def cohort() -> tuple[Bags, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(4)
    y = torch.arange(BAGS) % 2
    keep = torch.arange(SLICES) < torch.randint(1, SLICES + 1, (BAGS, 1), generator=generator)
    x = torch.randn(BAGS, SLICES, DIM, dtype=torch.float64, generator=generator)
    x[..., 0] += 0.8 * y.unsqueeze(1)
    height_mm = (2 + 13 * torch.arange(SLICES) + torch.arange(BAGS).unsqueeze(1)) * keep.double()
    return Bags(x * keep.unsqueeze(-1), keep, height_mm), y, torch.ones(BAGS, dtype=torch.float64)


def runs_of(head, *terms, **train) -> list[RunSpec]:
    """Two orders of bags, of different sizes, one of which may stop first."""
    loss = LossSpec.model_validate({"cross_entropy": 1, **dict.fromkeys(terms, 0.5)})

    def run(fold: int, n_train: int, **more) -> RunSpec:
        order = np.random.default_rng(fold).permutation(BAGS)
        asked = TrainSpec(**{"epochs": 2, "device": "cuda", **train, **more})
        return RunSpec("far", 0, fold, 0, head, loss, asked, order[:n_train], order[n_train:])

    return [run(0, 17), run(1, 12, learning_rate=0.03, patience=1)]


def on_cpu(runs: list[RunSpec]) -> list[RunSpec]:
    return [replace(run, train=run.train.model_copy(update={"device": "cpu"})) for run in runs]


@pytest.fixture
def there(monkeypatch):
    """A GPU, as far as training knows."""
    monkeypatch.setattr(stacked, "device_of", lambda asked: FAR if asked == "cuda" else torch.device("cpu"))


def hold_alike(cohort, runs) -> None:
    """Far away they give what they give here, and what they leave is here."""
    here = train_stacked(*cohort, 2, on_cpu(runs), torch.float64)
    with far_device():
        away = train_stacked(*cohort, 2, runs, torch.float64)
    for ours, theirs in zip(away, here, strict=True):
        assert ours.epochs == theirs.epochs
        for name, value in ours.state.items():
            assert type(value) is torch.Tensor
            torch.testing.assert_close(value, theirs.state[name], rtol=0, atol=1e-10)


def test_the_far_device_refuses_what_a_gpu_refuses():
    with far_device():
        far, near = torch.ones(3, device=FAR), torch.ones(3)
        for mixed in (
            lambda: far + near,
            lambda: torch.cat([near, far]),
            lambda: far.index_add_(0, near.long(), far),
        ):
            with pytest.raises(RuntimeError, match="same device"):
                mixed()
        with pytest.raises(RuntimeError, match="on the CPU"):
            near[far.long()]
        with pytest.raises(RuntimeError, match="numpy"):
            far.numpy()
        assert (far + 1).cpu().tolist() == [2, 2, 2]
        assert (2 * near).to(FAR).device == FAR


@pytest.mark.slow
@pytest.mark.parametrize("head", KINDS, ids=lambda spec: spec.kind)
def test_every_head_trains_where_its_bags_are(there, cohort, head):
    hold_alike(cohort, runs_of(head, batch_size=8, start="plain"))
    hold_alike(cohort, runs_of(head))


@pytest.mark.slow
@pytest.mark.parametrize("terms", LOSSES)
def test_losses_too(there, cohort, terms):
    hold_alike(cohort, runs_of(AttentionSpec(embedding=(6, 4)), *terms.split(), optimiser="adamw"))


def test_training_makes_everything_where_the_bags_are(there, cohort):
    """From the baseline, in batches that folds share, and by steps of eight; the slow tests do all heads."""
    hold_alike(cohort, runs_of(AttentionSpec(hidden=3)))
    hold_alike(cohort, runs_of(AttentionSpec(hidden=3, embedding=(4,)), "supcon", batch_size=8))


def test_a_product_of_the_cpus_is_refused_there(there, cohort):
    with pytest.raises(ConfigError, match=r"products: onednn is for the CPU"), far_device():
        train_stacked(*cohort, 2, runs_of(AttentionSpec(), products="onednn"), torch.float64)


@pytest.mark.parametrize("fits", [1, 2, 4])
def test_a_block_that_does_not_fit_is_halved(monkeypatch, cohort, fits):
    """And what is counted and left is what it would have been."""
    runs = on_cpu([run for seed in range(3) for run in runs_of(AttentionSpec(hidden=3, centre=seed != 1))])
    monkeypatch.setattr(stacked, "workers_on", lambda device: 1)
    whole = train_stacked(*cohort, 2, runs, torch.float64)
    real, sizes, steps = stacked.train_block, [], []

    def small(cohort, tokens, runs, report):
        sizes.append(len(runs))
        if len(runs) > fits:
            report.add(1)
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(cohort, tokens, runs, report)

    monkeypatch.setattr(stacked, "train_block", small)
    halved = train_stacked(
        *cohort, 2, runs, torch.float64, progress=lambda done, all: steps.append((done, all))
    )
    assert max(size for size in sizes if size <= fits) <= fits
    assert (max(sizes) > fits) == (fits < 4)
    assert max(steps) == (steps[0][1], steps[0][1])
    for ours, theirs in zip(halved, whole, strict=True):
        for name, value in ours.state.items():
            torch.testing.assert_close(value, theirs.state[name], rtol=0, atol=1e-10)


def test_one_run_that_does_not_fit_is_the_machines_refusal(monkeypatch, cohort):
    def none(*given):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(stacked, "train_block", none)
    with pytest.raises(
        MachineError, match=r"memory of cpu is too small for the run far, repeat 0.*device: cpu"
    ):
        train_stacked(*cohort, 2, on_cpu(runs_of(AttentionSpec())), torch.float64)
    monkeypatch.setattr(stacked, "prepare_tokens", none)
    with pytest.raises(MachineError, match=r"too small for the tokens of 23 bags"):
        train_stacked(*cohort, 2, on_cpu(runs_of(AttentionSpec())), torch.float64)


@pytest.mark.parametrize(
    ("gpus", "asked", "found"), [(0, "auto", "cpu"), (2, "auto", "cuda"), (2, "cuda:1", "cuda:1")]
)
def test_auto_is_a_gpu_where_there_is_one(monkeypatch, gpus, asked, found):
    monkeypatch.setattr(devices, "gpus", lambda: gpus)
    assert settled_device(asked) == found
    assert device_of(asked) == torch.device({"cuda": "cuda:0"}.get(found, found))


@pytest.mark.parametrize(("gpus", "asked"), [(0, "cuda"), (0, "cuda:0"), (1, "cuda:1")])
def test_a_gpu_that_is_not_here_is_refused(monkeypatch, gpus, asked):
    monkeypatch.setattr(devices, "gpus", lambda: gpus)
    with pytest.raises(ConfigError, match=rf"train.device says '{asked}', but torch .* sees (no|1) GPU"):
        settled_device(asked)


@pytest.mark.parametrize("asked", ["gpu", "cuda:", "cuda:-1", "cuda:x", "CPU", "", "meta", "mps"])
def test_other_names_are_refused(asked):
    with pytest.raises(ValidationError, match="say auto, cpu, cuda or"):
        TrainSpec(device=asked)


def test_what_auto_came_to_is_written_down_and_obeyed(monkeypatch, tmp_path: Path):
    monkeypatch.setattr(devices, "gpus", lambda: 1)
    asked = TrainSpec(device="auto")
    first = settled(tmp_path, asked, lambda: pytest.fail("measured for a GPU"), torch.float32)
    assert (first.device, first.products) == ("cuda", "torch")
    assert json.loads((tmp_path / DEVICE_FILE).read_text()) == {"taken": "cuda"}
    assert not (tmp_path / FILE).exists()
    monkeypatch.setattr(devices, "gpus", lambda: 0)
    with pytest.raises(ConfigError, match=r"device\.json says 'cuda', but torch .* sees no GPU"):
        settled(tmp_path, asked, list, torch.float32)
    (tmp_path / DEVICE_FILE).write_text('{"taken": "cpu"}')
    monkeypatch.setattr(devices, "gpus", lambda: 1)
    assert settled(tmp_path, asked, list, torch.float32).device == "cpu"


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"taken": 3}', '{"taken": "gpu"}'])
def test_a_choice_that_cannot_be_read_says_what_to_do(tmp_path: Path, text: str):
    (tmp_path / DEVICE_FILE).write_text(text)
    with pytest.raises(SlicecacheError, match=r"device\.json should say .* remove it"):
        device_for(tmp_path, "auto")
