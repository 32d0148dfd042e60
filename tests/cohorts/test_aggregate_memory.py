"""Tokens that stay in the store: the same numbers, and trainings that are equal to the last digit."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from made_up_store import example_arrays, example_draft, example_header, example_key, example_row, zipped

from aggregate.bags import memory
from aggregate.bags.bags import bags_bytes, lazy_bags, read_bags
from aggregate.config.section import parse_section
from aggregate.heads.attention import AttentionSpec
from aggregate.heads.mean import MeanSpec
from aggregate.losses.registry import LossSpec
from aggregate.train.train import train_pipeline
from aggregate.training.spec import TrainSpec
from aggregate.training.stacked import RunSpec, apply_head, train_stacked
from cache_schema.common.errors import StoreError
from cache_schema.common.pipeline_file import Pipeline
from cache_schema.move.export import export_store
from cache_schema.store.writer import StoreWriter

pytestmark = pytest.mark.numerics

LENGTHS = (5, 2, 11, 1, 7, 3, 13, 4, 6, 9, 2, 8)
TWO_IN_A_BAG = np.array([0, 0, 1, 2, 3, 3, 3, 4, 5, 6, 7, 7])


@pytest.fixture
def store(make_store, scan):
    return make_store([scan(f"{i:02d}", n_slices=n) for i, n in enumerate(LENGTHS)])


@pytest.mark.parametrize("budget", [0, 200, 10**9])
@pytest.mark.parametrize("bag", [None, TWO_IN_A_BAG])
def test_lazy_tokens_are_the_tokens(store, bag, budget):
    memory_bags = read_bags(store, store.entries, "cls", bag=bag)
    lazy = lazy_bags(store, store.entries, "cls", bag=bag, budget=budget)
    assert torch.equal(lazy.keep, memory_bags.keep)
    assert torch.equal(lazy.height_mm, memory_bags.height_mm)
    x = memory_bags.x
    for _ in range(2):  # the second time from what was kept
        assert torch.equal(lazy.x[2:7], x[2:7])
        rows = torch.tensor([3, 0, 3, 7, 1, 0])
        assert torch.equal(lazy.x.index_select(0, rows), x[rows])
        assert torch.equal(torch.stack(list(lazy.x)), x)
    assert torch.equal(lazy.x.to(torch.float64)[0:3], x[0:3].double())
    some, expected = lazy.take([4, 1, 4]), memory_bags.take([4, 1, 4])
    assert some.x.shape == tuple(expected.x.shape)
    assert torch.equal(some.x[0:3], expected.x)
    assert len(some) == 3


def test_no_more_than_the_budget_stays(store, monkeypatch):
    lazy = lazy_bags(store, store.entries, "cls", budget=20 * 7 * 2)
    list(lazy.x)
    shelf = lazy.x.shelf
    held = sum(values.nbytes for values in shelf.kept.values())
    assert 18 * 7 * 2 < held <= 20 * 7 * 2
    read = []
    whole = type(store).read
    monkeypatch.setattr(type(store), "read", lambda self, n, e: read.extend(e) or whole(self, n, e))
    list(lazy.x)
    assert {entry.key for entry in read} == {
        entry.key for i, entry in enumerate(store.entries) if i not in shelf.kept
    }


def test_rounding_dtypes_and_nan_are_refused(store, monkeypatch):
    lazy = lazy_bags(store, store.entries, "cls")
    with pytest.raises(ValueError, match="not rounded"):
        lazy.x.to(torch.float16)
    whole = type(store).read

    def read(self, name, entries):
        values = whole(self, name, entries)
        values[0, 0, 3] = np.nan
        return values

    monkeypatch.setattr(type(store), "read", read)
    with pytest.raises(StoreError, match="cls of 04/T1w holds NaN"):
        lazy.x[4:6]


@pytest.mark.parametrize("head", [AttentionSpec(hidden=3), MeanSpec(), AttentionSpec(centre=False)])
def test_training_is_the_same_bit_for_bit(store, head):
    memory_bags = read_bags(store, store.entries, "cls")
    lazy = lazy_bags(store, store.entries, "cls", budget=300)
    train = TrainSpec(epochs=4, batch_size=3, patience=2)
    runs = [
        RunSpec("c", 0, fold, 0, head, LossSpec(), train, np.delete(np.arange(10), fold), np.array([10, 11]))
        for fold in range(3)
    ]
    y, weight = torch.arange(12) % 2, torch.ones(12)
    # Bits: a killed study may resume with less memory, and must leave the same files. Products are of the
    # same numbers in the same shapes, so no processor has a reason to differ.
    ours, theirs = (train_stacked(bags, y, weight, 2, runs) for bags in (lazy, memory_bags))
    for one, other in zip(ours, theirs, strict=True):
        assert one.history == other.history
        assert all(torch.equal(one.state[name], other.state[name]) for name in other.state)
    built, states = head.build(7, 2), [run.state for run in theirs]
    a, b = (apply_head(built, states, bags.take([3, 9, 0]), batch=2) for bags in (lazy, memory_bags))
    assert torch.equal(a.logits, b.logits)
    assert torch.equal(a.attention, b.attention)


def test_bytes_are_known_before(store):
    assert bags_bytes(store.entries, store.header, "cls", TWO_IN_A_BAG) == 12 * 13 * 7 * 2 + 8 * 23 * 7 * 4


def test_the_default_is_half_of_the_smaller_of_machine_and_container(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "CGROUP", tmp_path / "none")
    machine = memory.machine_memory()
    assert machine > 2**27
    (tmp_path / "limit").write_text("1048576\n")
    monkeypatch.setattr(memory, "CGROUP", tmp_path / "limit")
    assert memory.memory_budget(None) == 2**19
    (tmp_path / "limit").write_text("max\n")
    assert memory.machine_memory() == machine
    assert memory.memory_budget(1.5) == 3 * 2**29


@pytest.fixture
def cohort(make_store, scan, tmp_path):
    """A store of 24 participants and their table."""
    names = [f"{i:02d}" for i in range(24)]
    scans = [scan(name, n_slices=2 + i % 5, shift=0.4 * (i % 2)) for i, name in enumerate(names)]
    store = make_store(scans)
    table = pd.DataFrame({"participant_id": names, "age": range(50, 74), "dx": ["a", "b"] * 12})
    table.to_csv(tmp_path / "cohort.csv", index=False)
    return store


def train(tmp_path, store, folder, **changes):
    section = {
        "cohort": "cohort.csv",
        "target": "dx",
        "head": {"kind": "attention", "hidden": 4},
        "train": {"epochs": 3, "batch_size": 5},
        "folds": {"n": 3, "minimum_per_class": 4},
        **changes,
    }
    data = {"run": {"folder": folder}, "cache": {"store": store}, "aggregate": section}
    train_pipeline(Pipeline(data, tmp_path), parse_section(section))
    metrics = (tmp_path / folder / "train" / "metrics.json").read_text()
    return metrics, (tmp_path / folder / "train" / "predictions.csv").read_text()


def test_training_beyond_the_budget_gives_the_same_files(tmp_path, cohort, capsys):
    whole = train(tmp_path, cohort.location, "memory")
    assert "reading cls" not in capsys.readouterr().err  # it is little, and nobody's concern
    assert "all in memory" in (tmp_path / "memory" / "train" / "log.txt").read_text()
    lazy = train(tmp_path, cohort.location, "lazy", memory_gib=2**-20)
    said = capsys.readouterr().err
    assert "reading cls of 24 volumes takes 5.63e-06 GiB of the 9.54e-07 GiB allowed" in said
    assert "read by blocks" in said
    assert "read by blocks" in (tmp_path / "lazy" / "train" / "log.txt").read_text()
    assert lazy == whole


@pytest.mark.parametrize("name", ["x.h5", "x.zip"])
def test_training_from_an_export_with_the_store_gone_gives_the_same_files(tmp_path, cohort, name):
    whole = train(tmp_path, cohort.location, "store")
    if name.endswith(".zip"):
        shutil.move(zipped(cohort.location), tmp_path / name)
    else:
        export_store(cohort.location, str(tmp_path / name))
    shutil.rmtree(cohort.location)
    assert train(tmp_path, name, "export") == whole
    assert train(tmp_path, name, "lazy", memory_gib=0) == whole
    assert json.loads(whole[0])["n_participants"] == 24


LIMITED = """
import resource, sys
import numpy as np, torch
from aggregate.bags.bags import lazy_bags, read_bags
from aggregate.baselines.baselines import mean_pool
from aggregate.heads.attention import AttentionSpec
from aggregate.heads.mean import MeanSpec
from aggregate.losses.registry import LossSpec
from aggregate.training.spec import TrainSpec
from aggregate.training.stacked import RunSpec, train_stacked
from cache_schema.store.reader import open_store

torch.set_num_threads(1)
store = open_store(sys.argv[1])
status = open("/proc/self/status").read()
limit = 1024 * int(status.partition("VmData:")[2].split()[0]) + 400 * 2**20
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
read = read_bags if sys.argv[2] == "memory" else lazy_bags
bags = read(store, store.entries, "cls")
n = len(bags)
for head in (AttentionSpec(), MeanSpec()):
    rows = np.arange(n)
    run = RunSpec("c", 0, 0, 0, head, LossSpec(), TrainSpec(epochs=1), rows, rows[:0])
    train_stacked(bags, torch.arange(n) % 2, torch.ones(n), 2, [run])
assert np.isfinite(mean_pool(bags)).all()
print("trained")
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux to limit the memory")
def test_a_cohort_beyond_the_memory_trains_where_reading_it_whole_dies(tmp_path):
    header = example_header(("cls",), dim=384, slice_chunk=160)
    keys = [example_key(number) for number in range(1500)]
    writer = StoreWriter.open(str(tmp_path / "s"), header, [example_row(key, 160) for key in keys])
    arrays = example_arrays(header, 160)
    for key in keys:
        writer.commit(example_draft(key, 160), arrays)

    def train_limited(kind):
        return subprocess.run(
            [sys.executable, "-c", LIMITED, str(tmp_path / "s"), kind],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        )

    assert "trained" in train_limited("lazy").stdout
    died = train_limited("memory")
    assert died.returncode != 0
    assert "allocate" in died.stderr
