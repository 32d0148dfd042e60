"""Scoring on the workers of a dask scheduler, in this process: every file as scored here, and refusals."""

import pickle
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("distributed", reason="the extra [cluster] is not installed")

import distributed
import pandas as pd
from dask.distributed import LocalCluster
from scored_files import files_of

import slicecache as conductor
from aggregate.anomaly.scoring import over_dask
from aggregate.anomaly.scoring.finished import ScoreBook
from aggregate.anomaly.study import predict_over_dask
from aggregate.anomaly.study.bundle import load_detectors
from aggregate.anomaly.study.predict import predict_detectors
from aggregate.anomaly.study.predict_over_dask import DaskJudge
from aggregate.detect import detect_pipeline
from cache_schema.cluster import kept
from cache_schema.cluster import pool as pool_module
from cache_schema.cluster.pool import DaskPool
from cache_schema.cluster.settings import NO_DASHBOARD, DaskSettings, WorkerHost
from cache_schema.common import custom
from cache_schema.common.errors import ConfigError, MachineError, StoreError
from cache_schema.common.pipeline_file import load_pipeline
from cache_schema.store.reader import open_store

STRANGER = """
import torch


class Far(torch.nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("total", torch.zeros(dim))

    def update(self, batch):
        self.total += batch.patches.mean((0, 1, 2))

    def score(self, batch):
        return (batch.patches - self.total).norm(dim=3)
"""
OWN = {"kind": "custom", "target": "stranger_on_dask:Far"}


@pytest.fixture(scope="module")
def cluster():
    with LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, scheduler_kwargs=NO_DASHBOARD
    ) as cluster:
        yield cluster


@pytest.fixture
def pool(cluster, tmp_path, monkeypatch) -> DaskPool:
    # Workers in this process share its torch, and must leave it the threads that it has.
    for module in (over_dask, predict_over_dask):
        monkeypatch.setattr(module, "threads_here", torch.get_num_threads)
    return DaskPool(DaskSettings(), WorkerHost(2, 0), cluster.scheduler_address, tmp_path / "shared")


@pytest.fixture
def on_workers(pool):
    """Detect by a file, scored by the workers."""
    return lambda file, *overrides: detect_pipeline(load_pipeline(file, overrides), pool)


def test_every_file_is_the_one_that_is_scored_here(study, tmp_path, on_workers, monkeypatch):
    (tmp_path / "stranger_on_dask.py").write_text(STRANGER)
    monkeypatch.setattr(sys, "path", list(sys.path))
    file = study.write(detectors=[*study.detectors, OWN], maps="all", slice_scores=True, seeds=2)
    here = study.run(file, "run.folder=here")
    monkeypatch.setattr(custom, "_given", {})
    monkeypatch.setattr(custom, "_permitted", set())
    there = on_workers(file)
    assert there.n_scored == here.n_scored == 8
    found = files_of(tmp_path / "run" / "detect")
    assert found == files_of(tmp_path / "here" / "detect")
    kinds = {name.split("/")[0] for name in found}
    assert {"scores", "maps", "checkpoints", "bundle", "scores.csv", "metrics.json"} <= kinds
    assert not kept._kept  # nothing stays on workers that live on


def test_a_resumed_run_scores_what_is_missing_and_a_damaged_score(study, tmp_path, on_workers, monkeypatch):
    study.detect("run.folder=whole")
    on_workers(study.file)
    lost, damaged, *_ = sorted((tmp_path / "run" / "detect" / "scores").glob("memory_bank*/*.safetensors"))
    lost.unlink()
    damaged.write_bytes(damaged.read_bytes()[:-3])
    written = []
    write = ScoreBook.write
    monkeypatch.setattr(
        ScoreBook, "write", lambda *given: (written.append(given[0].folder.name), write(*given))
    )
    assert on_workers(study.file).n_scored == 2
    assert [name.split("-")[0] for name in written] == ["memory_bank"] * 2
    assert files_of(tmp_path / "run" / "detect") == files_of(tmp_path / "whole" / "detect")
    monkeypatch.setattr(pool_module, "connected", None)
    assert on_workers(study.file).n_scored == 0  # without asking for workers


def test_a_machine_that_fails_names_the_host_and_keeps_what_is_scored(
    study, tmp_path, on_workers, monkeypatch
):
    write, left = ScoreBook.write, iter(range(9))

    def full(*given):
        if next(left, None) is None:
            raise MachineError("cannot write 'there': the disk is full")
        write(*given)

    with monkeypatch.context() as patch:
        patch.setattr(ScoreBook, "write", full)
        with pytest.raises(MachineError, match=r"on \S+: cannot write 'there'"):
            on_workers(study.file)
    there = Counter(path.name for path in (tmp_path / "run" / "detect" / "scores").rglob("*.safetensors"))
    assert there.total() >= 9  # threads of this process are not ended, and may finish what they began
    whole = sum(n == 4 for n in there.values())  # 4 detectors score a volume, and there are 8
    assert 0 < on_workers(study.file).n_scored <= 8 - whole


def test_a_volume_whose_workers_die_is_named(study, on_workers, monkeypatch):
    def dying(client, function, given, *_):
        yield given[0], distributed.KilledWorker("task", None, 3)

    monkeypatch.setattr(pool_module, "outcomes", dying)
    with pytest.raises(MachineError, match=r"the workers that had p\d+/T1w died.*run the same command"):
        on_workers(study.file)


def test_workers_that_do_not_see_the_run_folder_or_have_other_code_are_one_sentence(
    study, on_workers, monkeypatch
):
    with monkeypatch.context() as patch:
        patch.setattr(over_dask, "read_checkpoint", lambda *_: None)
        with pytest.raises(StoreError, match=r"on \S+: .*checkpoints.*must see the run folder"):
            on_workers(study.file)
    build = over_dask.fitted_again

    def other(spec, identity, recipe):
        return build(spec, identity.model_copy(update={"source": "0" * 64}), recipe)

    monkeypatch.setattr(over_dask, "fitted_again", other)
    with pytest.raises(ConfigError, match="code of the detector memory_bank"):
        on_workers(study.file)


def test_a_bundle_says_the_same_there(study, tmp_path, pool):
    study.detect("aggregate.detect.seeds=2")
    folder, store = tmp_path / "run" / "detect" / "bundle", open_store(tmp_path / "normal.zarr")
    here, _ = predict_detectors(load_detectors(folder), store, maps=tmp_path / "here")
    judge = DaskJudge(pool, folder, "crc32c", allow_custom=False)
    there, _ = predict_detectors(load_detectors(folder), store, maps=tmp_path / "there", judge=judge)
    pd.testing.assert_frame_equal(there, here, check_exact=True)
    assert files_of(tmp_path / "there") == files_of(tmp_path / "here")
    judged = predict_over_dask.judge_volume(bench(folder, store), store.entries[0].key)
    assert len(pickle.dumps(judged)) < 1000


def bench(folder: Path, store: Any) -> predict_over_dask.Bench:
    return predict_over_dask.Bench(predict_over_dask.Asked(load_detectors(folder), store, (), None))


def test_the_commands_take_the_engine_and_refuse_it_where_it_says_nothing(
    study, tmp_path, cluster, pool, capsys, monkeypatch
):
    monkeypatch.setattr(sys, "argv", ["slicecache"])
    monkeypatch.chdir(tmp_path)
    dask = ["--engine", "dask", "--scheduler", cluster.scheduler_address]

    def run(*words: object) -> tuple[int, str]:
        code = conductor.guarded(conductor.cli.main, [str(word) for word in words])
        return code, capsys.readouterr().err

    assert run("detect", study.file, *dask)[0] == 0
    store, csvs = tmp_path / "normal.zarr", [tmp_path / "here.csv", tmp_path / "there.csv"]
    assert run("predict", tmp_path / "run", store, "--out", csvs[0])[0] == 0
    assert run("predict", tmp_path / "run", store, "--out", csvs[1], *dask)[0] == 0
    assert csvs[0].read_bytes() == csvs[1].read_bytes()
    code, said = run("detect", study.file, *dask[2:])
    assert (code, "--engine dask" in said) == (2, True)
    code, said = run("predict", tmp_path / "run", store, "--site", "site.yaml")
    assert (code, "--engine dask" in said) == (2, True)


def test_a_bundle_of_heads_is_refused_with_how_long_it_takes(tmp_path, cluster, make_store, scan, capsys):
    store = make_store([scan("a"), scan("b")])
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "bundle.json").write_text('{"format": "slicecache-heads"}')
    words = ["predict", str(tmp_path / "bundle"), store.location, "--engine", "dask"]
    assert conductor.guarded(conductor.cli.main, words) == 2
    assert "2,000 volumes in about 10 s" in capsys.readouterr().err
