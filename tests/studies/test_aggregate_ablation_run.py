"""An ablation as a whole on a small made-up store: its files, resume, equality with `train`, choice."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

import slicecache as conductor
from aggregate.ablate.ablate import ablate_pipeline
from aggregate.ablate.findings.results import AblationResults
from aggregate.ablate.runs import trainer
from aggregate.ablate.runs.nested import choose_configurations, inner_folds
from aggregate.ablate.runs.prepare import prepare
from aggregate.ablate.runs.trainer import Ledger, train_jobs
from aggregate.ablate.terminal import ablation_summary
from aggregate.config.section import read_aggregate_section
from aggregate.present import present_ablation
from aggregate.train.train import train_pipeline
from cache_schema.common.pipeline_file import load_pipeline
from cache_schema.store.reader import StoreReader

N = 31
Make = Callable[[Sequence[Any]], StoreReader]
FILES = ("ablation.csv", "ablation.md", "ablation.tex", "metrics.json", "predictions.csv", "report.html")


@pytest.fixture
def project(make_store: Make, scan: type, tmp_path: Path) -> Path:
    """A store in which patients' tokens are shifted a little, a table, and an ablation over both arrays."""
    sick = [i % 2 == 0 for i in range(N)]
    make_store([scan(f"sub-{i:02d}", n_slices=2 + i % 4, shift=0.4 * s) for i, s in enumerate(sick)])
    rows = [f"sub-{i:02d}\t{40 + i % 7}\t{'patient' if s else 'control'}" for i, s in enumerate(sick)]
    (tmp_path / "participants.tsv").write_text("\n".join(["participant_id\tage\tdiagnosis", *rows]) + "\n")
    file = tmp_path / "pipeline.yaml"
    ablate = {
        "configurations": {
            "mean_pool": {"head.kind": "mean"},
            "abmil": {"head.hidden": 5},
            "patches": {"head.kind": "mean", "tokens": "patch_mean"},
        },
        "grid": {
            "from": "abmil",
            "head.embedding": [[5]],
            "loss.supcon": [0, 1],
            "loss.class_variance.weight": [0, 0.5],
        },
        "primary": [["abmil", "mean_pool"], ["abmil", "mean_pool_logistic"]],
        "repeats": 2,
        "select": "nested",
    }
    aggregate = {
        "cohort": "participants.tsv",
        "target": "diagnosis",
        "train": {"epochs": 4, "learning_rate": 0.01},
        "folds": {"n": 3},
        "ablate": ablate,
    }
    data = {"run": {"folder": "run"}, "cache": {"store": "cohort.zarr"}, "aggregate": aggregate}
    file.write_text(yaml.safe_dump(data, sort_keys=False))
    return file


def ablate(file: Path, *overrides: str, shuffle: int = 0) -> AblationResults:
    loaded = load_pipeline(file, overrides)
    results = ablate_pipeline(loaded, shuffle)
    present_ablation(results, loaded.folder())
    return results


def bytes_of(file: Path) -> dict[str, bytes]:
    """What a killed study must leave as an unkilled one does, bit for bit, on one machine."""
    return {name: (file.parent / "run" / "ablate" / name).read_bytes() for name in FILES}


def test_the_run_folder_is_whole(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = ablate(project, shuffle=2)
    folder = project.parent / "run" / "ablate"
    assert {p.name for p in folder.iterdir()} == {
        *FILES,
        *("config.yaml", "log.txt", "seconds.csv", "journal", "products.json", "figures"),
        *("methods.md", "references.bib", "tables", "checklist.html", "requirements.lock", "report.json"),
    }
    table = pd.read_csv(folder / "ablation.csv").set_index("configuration")
    assert list(table.index[:3]) == ["mean_pool", "abmil", "patches"]
    assert table.loc["abmil supcon=1 class_variance=0.5", "loss.supcon"] == 1
    assert table.loc["patches", "tokens"] == "patch_mean"
    assert table.loc["abmil", "runs"] == 6
    assert list(table["comparison"][:3]) == ["reference", "primary", "exploratory"]
    assert set(table["beats_mean_pooling"].dropna()) <= {"yes", "no"}
    assert list(table["comparison"]).count("primary") == 1
    assert table.loc[table["comparison"] != "primary", "p_holm"].isna().all()
    assert "nested_selection" in table.index
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["configuration"] == "mean_pool"
    assert set(metrics["ablation"]["null"]) == {"mean_pool", "abmil"}
    assert metrics["null"]["auroc"]["n"] == 2
    assert len(metrics["ablation"]["primary"]) == 2
    assert "mean_pool_logistic tokens=patch_mean" in metrics["baselines"]
    assert sum(metrics["ablation"]["nested_selection"]["chosen"].values()) == 6
    written = pd.read_csv(folder / "predictions.csv").groupby("configuration").size()
    assert set(written[["abmil", "nested_selection", "mean_pool_logistic"]]) == {2 * N}
    # The plan is said before anything starts, and counts what is trained.
    said = capsys.readouterr().err
    assert "7 configurations x 3 folds x 2 repeats x 1 seed = 42 runs" in said
    assert f"{4 * 6 * 3} runs on inner folds" in said
    assert "24 runs on shuffled labels" in said
    assert results.n_trained == 42 + 72 + 24
    low = "AUROC below 0.5: confounds_only (0.40). It counts as 0.5"
    assert low in ablation_summary(replace(results, notes=[*results.notes, low]))


@pytest.mark.numerics
def test_a_configuration_equals_train_on_the_same_folds(project: Path) -> None:
    results = ablate(project)
    loaded = load_pipeline(
        project,
        ["aggregate.head={kind: attention, hidden: 5}", "aggregate.folds.repeats=2", "run.folder=alone"],
    )
    alone = train_pipeline(loaded, read_aggregate_section(loaded))
    row = next(row for row in results.rows if row.name == "abmil")
    for name, found in row.intervals.items():
        expected = alone.metrics["metrics"][name]
        assert found.value == pytest.approx(expected["value"], abs=1e-5), name
        assert found.low == pytest.approx(expected["ci_low"], abs=1e-5), name
    table = pd.read_csv(project.parent / "run" / "ablate" / "predictions.csv")
    keys = ["participant_id", "repeat", "fold", "seed"]
    ours = table[table["configuration"] == "abmil"].set_index(keys)["logit_patient"]
    theirs = alone.predictions[alone.predictions["configuration"] == "attention"].set_index(keys)
    np.testing.assert_allclose(ours, theirs.loc[ours.index, "logit_patient"], atol=1e-5)
    assert (
        results.metrics["baselines"]["mean_pool_logistic"] == alone.metrics["baselines"]["mean_pool_logistic"]
    )


class StoppedError(Exception):
    """Stands for a kill."""


@pytest.mark.numerics
@pytest.mark.parametrize("portions", [1, 3])
def test_a_stopped_ablation_goes_on_and_leaves_the_same_bytes(
    project: Path, monkeypatch: pytest.MonkeyPatch, portions: int
) -> None:
    ablate(project, shuffle=1)
    expected = bytes_of(project)
    shutil.rmtree(project.parent / "run")
    real, done = trainer._train, []

    def stop(*args: Any) -> Any:
        if len(done) == portions:
            raise StoppedError
        done.append(args)
        return real(*args)

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "_train", stop)
        with pytest.raises(StoppedError):
            ablate(project, shuffle=1)
    assert not (project.parent / "run" / "ablate" / "metrics.json").exists()
    again = ablate(project, shuffle=1)
    assert again.n_found > 0
    assert again.n_trained > 0
    assert bytes_of(project) == expected


@pytest.mark.slow
def test_kill_9_loses_nothing_but_time(project: Path) -> None:
    root = Path(conductor.__file__).parent
    command = [sys.executable, str(root / "slicecache.py"), "ablate", str(project)]
    settings = {**os.environ, "PYTHONPATH": str(root)}
    subprocess.run(command, check=True, capture_output=True, env=settings)
    expected = bytes_of(project)
    journal = project.parent / "run" / "ablate" / "journal"
    for wanted in (1, 2):
        shutil.rmtree(project.parent / "run")
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=settings
        )
        while len(list(journal.glob("*.safetensors"))) < wanted and process.poll() is None:
            time.sleep(0.002)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        subprocess.run(command, check=True, capture_output=True, env=settings)
        assert bytes_of(project) == expected


def test_the_journal_serves_no_changed_study(project: Path) -> None:
    first = ablate(project)
    assert ablate(project).n_trained == 0
    changed = ablate(project, "aggregate.train.learning_rate=0.02")
    assert (changed.n_found, changed.n_trained) == (0, first.n_trained)
    table = project.parent / "participants.tsv"
    lines = table.read_text().splitlines()
    lines[1], lines[2] = lines[1].replace("patient", "control"), lines[2].replace("control", "patient")
    table.write_text("\n".join(lines) + "\n")
    assert ablate(project).n_found == 0


def test_the_resolved_pipeline_gives_the_same_table(project: Path) -> None:
    ablate(project)
    first = bytes_of(project)
    again = ablate(project.parent / "run" / "ablate" / "config.yaml")
    assert again.n_trained == 0
    assert bytes_of(project) == first


def test_two_stores_are_compared_on_the_same_volumes(
    project: Path, make_store: Make, scan: type, capsys: pytest.CaptureFixture[str]
) -> None:
    (project.parent / "cohort.zarr").rename(project.parent / "first.zarr")
    make_store([scan(f"sub-{i:02d}", n_slices=3, shift=i % 2) for i in range(N)])
    overrides = [
        "cache.store=first.zarr",
        "aggregate.ablate={configurations: {a: {head.kind: mean}, b: {head.kind: mean, store: cohort.zarr}}}",
        "aggregate.ablate.repeats=1",
    ]
    results = ablate(project, *overrides)
    assert results.baselines[0].name == "mean_pool_logistic"
    assert "mean_pool_logistic store=cohort.zarr" in [row.name for row in results.baselines]
    assert results.rows[1].intervals["auroc"].value > results.rows[0].intervals["auroc"].value
    shutil.rmtree(project.parent / "cohort.zarr")
    make_store([scan(f"sub-{i:02d}", n_slices=3) for i in range(N - 1)])
    arguments = ["ablate", str(project), *(part for o in overrides for part in ("--set", o))]
    assert conductor.guarded(conductor.cli.main, arguments) == 2
    assert "differ in 1: 30 T1w" in capsys.readouterr().err.replace("sub-", "")


@pytest.mark.numerics
def test_the_choice_never_sees_a_test_label(project: Path) -> None:
    prepared = prepare(load_pipeline(project))
    source, select = prepared.first, prepared.study.spec.select
    assert select is not None
    bags = source.bags()
    outer = prepared.folds[0]
    frame = source.cohort.frame.copy()
    poisoned = frame["y"].to_numpy().copy()
    poisoned[outer.test] = 1 - poisoned[outer.test]
    changed = replace(source.cohort, frame=frame.assign(y=poisoned))
    chosen, logits = [], []
    for cohort in (source.cohort, changed):
        inner = inner_folds(cohort, [outer], select, prepared.fold_spec)
        for fold in inner[0, 0]:
            used = np.concatenate([fold.train, fold.validation, fold.test])
            assert not np.isin(outer.test, used).any()
            assert len(np.unique(used)) == len(outer.train) + len(outer.validation)
        here = replace(prepared, inner=inner)
        jobs = here.inner_jobs(source.place)
        ledger = Ledger(prepared.journal)
        outputs = train_jobs(jobs, replace(source, cohort=cohort), bags, ledger)
        names = list(dict.fromkeys(job.run.configuration for job in jobs))
        chosen.append(choose_configurations(cohort, inner, names, outputs, select.seeds))
        logits.append(np.concatenate([output.logits for output in outputs.values()]))
    assert chosen[0] == chosen[1]
    np.testing.assert_allclose(logits[0], logits[1], rtol=0, atol=1e-6)


def test_the_command(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["ablate", str(project)]
    assert conductor.guarded(conductor.cli.main, [*arguments, "--plan"]) == 0
    assert "42 runs" in capsys.readouterr().out
    assert not (project.parent / "run").exists()
    assert conductor.guarded(conductor.cli.main, [*arguments, "--plan", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["runs"] == 42
    assert conductor.guarded(conductor.cli.main, arguments) == 0
    printed = capsys.readouterr().out
    assert "Primary: abmil" in printed
    assert "chosen by inner folds" in printed
    assert conductor.guarded(conductor.cli.main, [*arguments, "--json"]) == 0
    assert "ablation" in json.loads(capsys.readouterr().out)
    wrong = [*arguments, "--set", "aggregate.ablate.reference=mean_pol"]
    assert conductor.guarded(conductor.cli.main, wrong) == 2
    assert "did you mean 'mean_pool'" in capsys.readouterr().err


def test_train_ignores_the_section(project: Path) -> None:
    loaded = load_pipeline(project)
    assert train_pipeline(loaded, read_aggregate_section(loaded)).metrics["configuration"] == "attention"
