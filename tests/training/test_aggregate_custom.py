"""A stranger's head and loss from one end to the other, in YAML and as objects."""

import json
import logging
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from torch import Tensor, nn

from aggregate.ablate.ablate import ablate_pipeline
from aggregate.ablate.grid.expand import expand
from aggregate.bags.bags import Bags
from aggregate.config.section import parse_section, read_aggregate_section
from aggregate.heads.custom import CustomHeadSpec
from aggregate.heads.module import by_loop, by_vmap, drawing_from, unbound
from aggregate.losses.base import Batch
from aggregate.losses.custom import Stack, losses_by_loop, losses_by_vmap
from aggregate.losses.registry import LossSpec
from aggregate.predict.bundle import load_bundle
from aggregate.predict.predict import predict_store
from aggregate.report.pages.training import render_report
from aggregate.train.train import train_pipeline
from aggregate.training.spec import TrainSpec
from aggregate.training.stacked import RunSpec, train_stacked
from aggregate.training.steps import blocks
from cache_schema.common import custom
from cache_schema.common.custom import give
from cache_schema.common.errors import ConfigError
from cache_schema.common.pipeline_file import load_pipeline
from cache_schema.store.reader import StoreReader, open_store

N = 25
Make = Callable[[Sequence[Any]], StoreReader]

MODULE = """
import torch
from torch import nn

class Pool(nn.Module):
    def __init__(self, dim, hidden=4):
        super().__init__()
        self.score = nn.Sequential(nn.Linear(dim, hidden), nn.Tanh(), nn.Linear(hidden, 1, bias=False))
    def forward(self, x, keep, height_mm):
        attention = self.score(x).squeeze(-1).masked_fill(~keep, -torch.inf).softmax(-1)
        return torch.einsum("bs,bsd->bd", attention, x), attention

def small(logits, embedding, y, keep, power=2):
    return (logits.abs().pow(power).mean(1) * keep).sum() / keep.sum()
"""


@pytest.fixture
def project(make_store: Make, scan: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A store, a table, a stranger's module and a pipeline file beside each other; nothing is imported."""
    sick = [i % 2 == 0 for i in range(N)]
    make_store([scan(f"sub-{i:02d}", n_slices=2 + i % 4, shift=1.5 * s) for i, s in enumerate(sick)])
    rows = [f"sub-{i:02d}\t{'patient' if s else 'control'}" for i, s in enumerate(sick)]
    (tmp_path / "participants.tsv").write_text("\n".join(["participant_id\tdiagnosis", *rows]) + "\n")
    (tmp_path / "my_parts.py").write_text(MODULE)
    section = {
        "cohort": "participants.tsv",
        "target": "diagnosis",
        "baselines": ["mean_pool_logistic"],
        "head": {"kind": "custom", "target": "my_parts:Pool", "options": {"hidden": 3}, "embedding": [6]},
        "loss": {"cross_entropy": 1.0, "shy": {"target": "my_parts:small", "weight": 0.1}},
        "train": {"epochs": 6, "learning_rate": 0.01},
        "folds": {"n": 3},
    }
    pipeline = {"run": {"folder": "run"}, "cache": {"store": "cohort.zarr"}, "aggregate": section}
    file = tmp_path / "pipeline.yaml"
    file.write_text(yaml.safe_dump(pipeline))
    forget(monkeypatch)
    yield file
    sys.modules.pop("my_parts", None)


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """As another process would be: nothing given, permitted, imported or importable."""
    monkeypatch.setattr(custom, "_given", {})
    monkeypatch.setattr(custom, "_permitted", set())
    monkeypatch.setattr(sys, "path", [part for part in sys.path if not (Path(part) / "my_parts.py").exists()])
    sys.modules.pop("my_parts", None)


def train(file: Path) -> Any:
    loaded = load_pipeline(file)
    return train_pipeline(loaded, read_aggregate_section(loaded))


def test_a_strangers_head_and_loss_from_yaml(project: Path, monkeypatch, capsys) -> None:
    results = train(project)
    assert "imported my_parts:Pool" in capsys.readouterr().err
    assert results.metrics["configuration"] == "Pool"
    assert results.metrics["metrics"]["auroc"]["value"] > 0.8
    folder = project.parent / "run" / "train"
    card = json.loads((folder / "bundle" / "bundle.json").read_text())
    assert card["head"]["target"] == "my_parts:Pool"
    assert card["head"]["options"] == {"hidden": 3}
    assert sum(card["training"]["stacking"].values()) == 3
    log = (folder / "log.txt").read_text()
    assert "head my_parts:Pool: " in log

    forget(monkeypatch)
    with pytest.raises(ConfigError, match="--allow-custom"):
        load_bundle(folder / "bundle")
    assert "my_parts" not in sys.modules
    monkeypatch.syspath_prepend(str(project.parent))
    allowed = load_bundle(folder / "bundle", allow_custom=True)
    forget(monkeypatch)
    monkeypatch.syspath_prepend(str(project.parent))
    from my_parts import Pool

    given = load_bundle(folder / "bundle", custom=Pool)
    store = open_store(str(project.parent / "cohort.zarr"))
    own = results.predictions[results.predictions["configuration"] == "Pool"]
    expected = own.set_index("participant_id")["logit_patient"]
    for bundle in (allowed, given):
        found = predict_store(bundle, store).set_index("participant_id")["logit_patient"]
        np.testing.assert_allclose(found[expected.index], expected, atol=1e-5)
    with pytest.raises(Exception, match="does not fit its head"):
        load_bundle(folder / "bundle", custom=Other)


class Other(nn.Module):
    """Not the head that was trained."""

    def __init__(self, dim: int, hidden: int = 4) -> None:
        super().__init__()
        self.gate = nn.Linear(dim, 1)

    def forward(self, x: Tensor, keep: Tensor, height_mm: Tensor) -> tuple[Tensor, None]:
        weight = self.gate(x).sigmoid() * keep.unsqueeze(-1)
        return (weight * x).sum(1) / weight.sum(1), None


def nothing(logits: Tensor, embedding: Tensor, y: Tensor, keep: Tensor) -> Tensor:
    """It weighs, and says nothing."""
    return torch.zeros(())


def test_objects_train_as_their_targets_do(project: Path, monkeypatch) -> None:
    first = train(project).predictions
    monkeypatch.syspath_prepend(str(project.parent))
    from my_parts import Pool, small

    loaded = load_pipeline(project)
    head = {**loaded.data["aggregate"]["head"], "target": Pool}
    data = {**loaded.data["aggregate"], "head": head, "loss": {"shy": {"target": small, "weight": 0.1}}}
    second = train_pipeline(loaded, parse_section(data)).predictions
    pd.testing.assert_frame_equal(first, second, rtol=0, atol=1e-5)
    bare = train_pipeline(loaded, parse_section({**data, "head": Other, "loss": {"mine": nothing}}))
    assert bare.metrics["configuration"] == "Other"
    assert bare.attention.empty
    render_report(bare, project.parent / "report.html")  # with no attention to draw
    assert (project.parent / "report.html").exists()


def test_ablate_reaches_into_custom_parts(project: Path) -> None:
    data = yaml.safe_load(project.read_text())
    data["aggregate"]["ablate"] = {
        "configurations": {"mine": {}, "plain": {"head.kind": "mean", "loss.shy": 0}},
        "grid": {"from": "mine", "head.options.hidden": [2, 5], "loss.shy.weight": [0, 0.5]},
        "repeats": 1,
    }
    project.write_text(yaml.safe_dump(data))
    loaded = load_pipeline(project)
    ablate_pipeline(loaded)
    table = pd.read_csv(project.parent / "run" / "ablate" / "ablation.csv")
    found = set(table["configuration"])
    points = {f"mine options.hidden={hidden} shy={weight}" for hidden in (2, 5) for weight in (0, 0.5)}
    assert {"mine", "plain"} | points <= found
    assert table["auroc"].notna().all()


def test_changed_code_is_trained_again(project: Path) -> None:
    data = yaml.safe_load(project.read_text())
    data["aggregate"]["ablate"] = {"configurations": {"mine": {}}, "repeats": 1}
    project.write_text(yaml.safe_dump(data))
    journal = project.parent / "run" / "ablate" / "journal"
    counts = []
    for code in (MODULE, MODULE, MODULE.replace("nn.Tanh()", "nn.ReLU()")):
        (project.parent / "my_parts.py").write_text(code)
        ablate_pipeline(load_pipeline(project))
        counts.append(len(list(journal.iterdir())))
    assert counts[0] == counts[1] < counts[2]


@pytest.mark.parametrize("as_object", [False, True])
def test_paths_reach_into_objects_too(as_object: bool) -> None:
    head = Other if as_object else {"kind": "custom", "target": give(Other)}
    term = nothing if as_object else {"target": give(nothing)}
    raw = {
        "cohort": "c.tsv",
        "target": "y",
        "head": head,
        "loss": {"mine": term},
        "ablate": {
            "configurations": {"a": {}, "b": {"head.kind": "mean"}},
            "grid": {"from": "a", "head.options.hidden": [2], "loss.mine.weight": [0.25], "loss.supcon": [1]},
        },
    }
    study = expand(raw)
    point = next(c for c in study.configurations if c.point is not None).section
    assert isinstance(point.head, CustomHeadSpec)
    assert (point.head.options, point.head.target) == ({"hidden": 2}, give(Other))
    assert {name: term.weight for name, term in point.loss.terms.items()} == {
        "cross_entropy": 1.0,
        "supcon": 1.0,
        "mine": 0.25,
    }
    assert study["b"].section.head.kind == "mean"
    assert study["b"].section.loss.terms["mine"].weight == 1


def test_configurations_take_parts_themselves() -> None:
    term = {"target": nothing, "weight": 0.5}
    parts = {"head": [Other, {"kind": "custom", "target": Drops}], "loss.mine": [nothing, term]}
    raw = {
        "cohort": "c.tsv",
        "target": "y",
        "ablate": {"configurations": {"a": {"head": Still}}, "grid": {"from": "a", **parts}},
    }
    study = expand(raw)
    assert {c.section.head.target for c in study.configurations} == {give(p) for p in (Still, Other, Drops)}
    weights = [c.section.loss.terms["mine"].weight for c in study.configurations if c.point is not None]
    assert weights == [1, 0.5, 1, 0.5]
    assert json.loads(study.section.model_dump_json())["ablate"]["configurations"]["a"]["head"]["target"]


def test_what_is_no_loss_is_named() -> None:
    def section(loss: Any) -> Any:
        return parse_section({"cohort": "c.tsv", "target": "y", "loss": loss})

    with pytest.raises(ConfigError, match=r"unknown key aggregate\.loss\.supco; did you mean 'supcon'"):
        section({"supco": 1})
    with pytest.raises(ConfigError, match=r"aggregate\.loss\.mine\.wight; did you mean 'weight'"):
        section({"mine": {"target": "a:b", "wight": 1}})
    with pytest.raises(ConfigError, match="cannot be the name of a loss"):
        section({"terms": {"target": "a:b"}})
    with pytest.raises(ConfigError, match=r"unknown key aggregate\.train\.projection"):
        parse_section({"cohort": "c.tsv", "target": "y", "train": {"projection": "bfloat16"}})
    with pytest.raises(ConfigError, match="acts on the embedding"):
        train_stacked(*cohort(), 2, [run(Still, loss={"supcon": 1})], torch.float64)


class Still(nn.Module):
    """No weights at all."""

    def __init__(self, dim: int) -> None:
        super().__init__()

    def forward(self, x: Tensor, keep: Tensor, height_mm: Tensor) -> tuple[Tensor, None]:
        return x.masked_fill(~keep.unsqueeze(-1), -torch.inf).amax(1), None


class Drops(Other):
    """It draws numbers in training."""

    def forward(self, x: Tensor, keep: Tensor, height_mm: Tensor) -> tuple[Tensor, None]:
        return super().forward(nn.functional.dropout(x, 0.3, self.training), keep, height_mm)


def cohort() -> tuple[Bags, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(4)
    y = torch.arange(41) % 2
    keep = torch.arange(5) < torch.randint(1, 6, (41, 1), generator=generator)
    x = torch.randn(41, 5, 12, dtype=torch.float64, generator=generator)
    x[..., 0] += 0.8 * y.unsqueeze(1)
    return Bags(x * keep.unsqueeze(-1), keep, torch.zeros(41, 5)), y, torch.ones(41, dtype=torch.float64)


def run(head: Any, fold: int = 0, seed: int = 0, loss: Any = None, **options: Any) -> RunSpec:
    order = np.random.default_rng(fold).permutation(41)
    spec = CustomHeadSpec(target=give(head), **options)
    train = TrainSpec(epochs=5, batch_size=8, learning_rate=0.01, patience=3)
    given = LossSpec.model_validate(loss or {})
    return RunSpec("c", 0, fold, seed, spec, given, train, order[:30], order[30:])


@pytest.fixture
def threads():
    """Torch with so many threads, and as before afterwards."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("head", [Other, Drops])
def test_blocks_on_several_threads_do_not_disturb_each_other(head, monkeypatch, threads) -> None:
    runs = [run(head, fold, seed) for fold in range(3) for seed in range(4)]
    alone = [train_stacked(*cohort(), 2, [one], torch.float64)[0] for one in runs]
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 1)
    threads(4)
    before = threading.active_count()
    state = torch.get_rng_state()
    for ours, theirs in zip(train_stacked(*cohort(), 2, runs, torch.float64), alone, strict=True):
        for name, value in ours.state.items():
            torch.testing.assert_close(value, theirs.state[name], rtol=0, atol=1e-10, msg=name)
    assert torch.equal(torch.get_rng_state(), state), "training leaves torch's generator as it was"
    assert threading.active_count() == before


def test_dropout_acts_in_training_and_not_in_validation() -> None:
    (wet,), (dry,) = (train_stacked(*cohort(), 2, [run(head)], torch.float64) for head in (Drops, Other))
    assert wet.stacking == dry.stacking == "loop"
    assert not torch.equal(wet.state["pool.gate.weight"], dry.state["pool.gate.weight"])
    built = wet.spec.head.build(12, 2)
    bags = cohort()[0]
    given = {name: value.unsqueeze(0) for name, value in wet.state.items()}
    first, second = (built(given, bags.x, bags.keep, bags.height_mm.double()).logits for _ in range(2))
    assert torch.equal(first, second)


def test_the_choice_is_recorded_and_can_be_made(caplog, threads) -> None:
    threads(1)  # one block, so that there is a stack
    runs = [run(Other, fold) for fold in range(3)]
    with caplog.at_level(logging.INFO, "slicecache"):
        auto = train_stacked(*cohort(), 2, runs, torch.float64)
    assert {trained.stacking for trained in auto} <= {"vmap", "loop"}
    assert "a step by vmap takes" in caplog.text
    for way in ("vmap", "loop"):
        named = train_stacked(*cohort(), 2, [run(Other, 0, stacking=way)] * 2, torch.float64)
        assert {trained.stacking for trained in named} == {way}
        for name, value in named[1].state.items():
            torch.testing.assert_close(value, auto[0].state[name], rtol=0, atol=1e-10, msg=name)


class Branches(Other):
    """What vmap refuses."""

    def forward(self, x: Tensor, keep: Tensor, height_mm: Tensor) -> tuple[Tensor, None]:
        if float(self.gate.weight.detach().sum()) > 1e6:
            raise ValueError("it runs away")
        return super().forward(x, keep, height_mm)


def test_a_module_that_vmap_refuses_goes_one_by_one(caplog, threads) -> None:
    threads(1)
    with caplog.at_level(logging.INFO, "slicecache"):
        trained = train_stacked(*cohort(), 2, [run(Branches, fold) for fold in range(3)], torch.float64)
    assert {one.stacking for one in trained} == {"loop"}
    assert "vmap refuses it" in caplog.text
    with pytest.raises(ConfigError, match="stacking: loop"):
        train_stacked(*cohort(), 2, [run(Branches, stacking="vmap")], torch.float64)


def test_the_pool_alone_may_stay_as_it_was_drawn() -> None:
    spec = run(Other, embedding=(6,), train="embedding")
    (trained,) = train_stacked(*cohort(), 2, [spec], torch.float64)
    start = spec.head.build(12, 2).init([0], torch.float64)
    assert trained.state.keys() == start.keys()
    (moved,) = train_stacked(
        *cohort(), 2, [replace(spec, head=spec.head.model_copy(update={"train": "all"}))]
    )
    assert not torch.equal(moved.state["pool.gate.bias"], trained.state["pool.gate.bias"].float())


def test_vmap_and_loop_of_a_module_agree() -> None:
    generator = torch.Generator().manual_seed(0)
    with drawing_from(0):
        module = Other(12).double()
    state = {
        name: torch.randn(6, *value.shape, dtype=torch.float64, generator=generator)
        for name, value in module.named_parameters()
    }
    bags = cohort()[0]
    batch = tuple(part[:8].unflatten(0, (2, 4)) for part in (bags.x, bags.keep, bags.height_mm))
    together, _ = by_vmap(module, state, batch, 2)
    each = [tuple(part[run // 3] for part in batch) for run in range(6)]
    one_by_one, _ = by_loop(module, unbound(state, 6), each)
    torch.testing.assert_close(together, one_by_one, rtol=0, atol=1e-12)


def indexing(logits: Tensor, embedding: Tensor, y: Tensor, keep: Tensor) -> Tensor:
    return logits[keep].square().mean()


def masking(logits: Tensor, embedding: Tensor, y: Tensor, keep: Tensor) -> Tensor:
    return (logits.square().mean(1) * keep).sum() / keep.sum()


def test_losses_are_stacked_by_vmap_or_one_by_one() -> None:
    logits = torch.randn(3, 7, 2, dtype=torch.float64)
    keep = torch.arange(7).expand(3, 7) < 5
    batch = Batch(logits, logits, torch.zeros(3, 7, dtype=torch.int64), keep, torch.ones(3, 7))
    values = []
    for loss, by in ((masking, losses_by_vmap), (indexing, losses_by_loop)):
        stack = Stack("mine", loss)
        values.append(stack(batch))
        assert stack.by is by
    torch.testing.assert_close(values[0], values[1], rtol=0, atol=1e-12)
    one = Stack("mine", masking)
    one(batch.take(torch.tensor([1])))
    assert one.by is losses_by_loop


def test_two_functions_of_one_maker_are_two_losses() -> None:
    def scaled(factor: float) -> Any:
        def loss(logits: Tensor, embedding: Tensor, y: Tensor, keep: Tensor) -> Tensor:
            return factor * masking(logits, embedding, y, keep)

        return loss

    spec = LossSpec.model_validate({"a": scaled(1.0), "b": scaled(3.0)})
    logits = torch.randn(1, 7, 2)
    args = (logits[0], logits[0], torch.zeros(7, dtype=torch.int64), torch.ones(7, dtype=torch.bool))
    a, b = (spec.terms[name].loss()(*args) for name in "ab")  # type: ignore[attr-defined]
    torch.testing.assert_close(3 * a, b)
