"""Names of `extract.stores` in stage two: `train`, `ablate` and `detect` know where they lie."""

import json

import pandas as pd
import pytest
import yaml
from made_up_store import example_arrays, example_draft, example_header, example_row

import slicecache as sc
from aggregate.bags.token_names import at_home
from aggregate.detect import store_location
from cache_schema.common.pipeline_file import load_pipeline
from cache_schema.format.identity import VolumeKey
from cache_schema.store.reader import open_store
from cache_schema.store.writer import StoreWriter

N = 24
STORES = {"axial": {}, "coronal": {"slices": {"kind": "all"}}, "wide": {}}
SECTION = {
    "cohort": "p.tsv",
    "target": "dx",
    "train": {"epochs": 3, "learning_rate": 0.01},
    "folds": {"n": 2},
    "baselines": ["mean_pool_logistic"],
}


def make(location, *, weights, dim=5, slices=lambda i: 2 + i % 4):
    header = example_header(("cls", "patch_mean"), dim=dim, weights=weights, slice_chunk=8)
    keys = [VolumeKey(f"{i:02d}", "", "T1w") for i in range(N)]
    writer = StoreWriter.open(str(location), header, [example_row(k, slices(i)) for i, k in enumerate(keys)])
    for i, key in enumerate(keys):
        writer.commit(example_draft(key, slices(i)), example_arrays(header, slices(i), seed=i + dim))


@pytest.fixture
def folder(tmp_path):
    make(tmp_path / "cache.zarr", weights="axial")
    make(tmp_path / "cache-coronal.zarr", weights="coronal", dim=7, slices=lambda i: 3 + i % 3)
    make(tmp_path / "else.zarr", weights="wide", dim=9)
    rows = [f"{i:02d}\t{'patient' if i % 2 else 'control'}" for i in range(N)]
    (tmp_path / "p.tsv").write_text("\n".join(["participant_id\tdx", *rows]) + "\n")
    return tmp_path


def pipeline(folder, **keys):
    data = {
        "run": {"folder": "run"},
        "cache": {"store": "cache.zarr", "stores": {"wide": "else.zarr"}},
        "extract": {"input": {"bids": "."}, "stores": STORES},
        "aggregate": {**SECTION, **keys},
    }
    (folder / "pipeline.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
    return folder / "pipeline.yaml"


def command(*arguments):
    return sc.guarded(sc.cli.main, list(map(str, arguments)))


def test_tokens_of_one_other_store_are_its_own():
    assert at_home("cls") == (None, "cls")
    assert at_home("a:cls") == ("a", "cls")
    assert at_home("a:cls+a:patch_mean") == ("a", "cls+patch_mean")
    assert at_home("a:cls+b:cls") == (None, "a:cls+b:cls")
    assert at_home("cls+a:cls") == (None, "cls+a:cls")


def test_training_on_a_named_store_is_training_on_that_store(folder):
    assert command("train", pipeline(folder, tokens="coronal:cls")) == 0
    (folder / "direct.yaml").write_text(
        yaml.safe_dump(
            {"run": {"folder": "d"}, "cache": {"store": "cache-coronal.zarr"}, "aggregate": {**SECTION}}
        )
    )
    assert command("train", folder / "direct.yaml") == 0
    named, direct = (pd.read_csv(folder / run / "train" / "predictions.csv") for run in ("run", "d"))
    pd.testing.assert_frame_equal(named, direct)
    metrics = json.loads((folder / "run" / "train" / "metrics.json").read_text())
    assert metrics["fingerprint"] == open_store(folder / "cache-coronal.zarr").header.fingerprint.digest
    again = yaml.safe_load((folder / "run" / "train" / "config.yaml").read_text())
    assert again["cache"]["stores"] == {
        "axial": str(folder / "cache.zarr"),
        "coronal": str(folder / "cache-coronal.zarr"),
        "wide": str(folder / "else.zarr"),
    }


def test_a_study_over_stores_is_one_line(folder):
    tokens = ["axial:cls", "coronal:cls", "coronal:patch_mean", "cls+wide:cls"]
    ablate = {"configurations": {"mean": {"head.kind": "mean"}}, "grid": {"tokens": tokens}, "repeats": 2}
    assert command("ablate", pipeline(folder, ablate=ablate)) == 0
    table = pd.read_csv(folder / "run" / "ablate" / "ablation.csv")
    assert {f"grid tokens={name}" for name in tokens} <= set(table["configuration"])
    metrics = json.loads((folder / "run" / "ablate" / "metrics.json").read_text())
    assert metrics["n_participants"] == N


def test_what_is_not_there_is_named(folder, capsys):
    assert command("train", pipeline(folder, tokens="coronl:cls")) == 2
    said = capsys.readouterr().err
    assert "reads from a store 'coronl', which is not given; did you mean 'coronal'" in said
    assert command("train", pipeline(folder, tokens=["cls", "coronal:cls"])) == 2
    assert "are not the same in" in capsys.readouterr().err


def test_detectors_know_the_names(folder):
    loaded = load_pipeline(pipeline(folder))
    assert store_location(loaded, "main") == store_location(loaded, "axial") == str(folder / "cache.zarr")
    assert store_location(loaded, "wide") == str(folder / "else.zarr")
