"""A bundle of detectors gives a store the scores that detection gave it, with the same refusals."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pandas as pd
import pytest
import torch
import yaml

import slicecache as conductor
from aggregate.anomaly.findings import measure
from aggregate.anomaly.study.bundle import is_detector_bundle, load_detectors
from aggregate.anomaly.study.predict import predict_detectors
from aggregate.detect import detect_pipeline
from cache_schema.common.errors import SlicecacheError, StoreMismatch
from cache_schema.common.pipeline_file import load_pipeline
from cache_schema.format.record import Entities
from cache_schema.store.reader import open_store

LENGTHS = (9, 7, 11, 8, 9, 10, 7, 8, 9)
DETECTORS = [
    {"kind": "memory_bank", "size": 300},
    {"kind": "patchcore", "size": 100, "sample": 300},
    {"kind": "mahalanobis", "shrinkage": 0.1},
    {"kind": "dino_ad", "restarts": 2},
    {"kind": "dpmm", "components": 7, "epochs": 2},
    {"kind": "spatial_ar", "epochs": 2, "width": 16},
    {"kind": "symmetry"},
    {"kind": "combined", "parts": [{"kind": "mahalanobis"}, {"kind": "dpmm", "components": 7, "epochs": 2}]},
]


@pytest.fixture(autouse=True)
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "DRAWS", 20)


@pytest.fixture
def fitted(normal_store: Callable[..., Any], tmp_path: Path) -> Callable[..., Path]:
    """Run detection on a made-up store; gives its folder."""
    normal_store(LENGTHS)
    rows = [f"p{place:03d}\t{'control' if place < 7 else 'patient'}" for place in range(len(LENGTHS))]
    (tmp_path / "participants.tsv").write_text("\n".join(["participant_id\tdiagnosis", *rows]) + "\n")

    def run(**changes: Any) -> Path:
        detect = {
            "reference": {"column": "diagnosis", "value": "control"},
            "detectors": DETECTORS,
            "seeds": 2,
            **changes,
        }
        data = {
            "run": {"folder": "run"},
            "cache": {"store": "normal.zarr"},
            "aggregate": {"cohort": "participants.tsv", "detect": detect},
        }
        (tmp_path / "pipeline.yaml").write_text(yaml.safe_dump(data))
        detect_pipeline(load_pipeline(tmp_path / "pipeline.yaml"))
        return tmp_path / "run" / "detect"

    return run


@pytest.mark.numerics
@pytest.mark.parametrize("per_height", [False, True])
def test_prediction_equals_detection(fitted, tmp_path, per_height):
    run = fitted(per_height=per_height)
    found, warnings = predict_detectors(
        load_detectors(run / "bundle"), open_store(tmp_path / "normal.zarr"), maps=tmp_path / "maps"
    )
    told = pd.read_csv(run / "scores.csv", keep_default_na=False, na_values=[""], dtype={"session_id": str})
    told = told[~told["detector"].isin(["position", "intensity"])].reset_index(drop=True)
    assert warnings == []
    assert list(found["part"]) == list(told["part"])
    np.testing.assert_allclose(found["score"], told["score"], rtol=1e-6, atol=1e-7)
    for name in ("share_fpr10", "share_fpr05", "share_fpr01"):
        np.testing.assert_allclose(found[name], told[name], atol=1e-12)
    for path in (run / "maps").rglob("*.nii.gz"):
        twin = tmp_path / "maps" / path.relative_to(run / "maps")
        ours, theirs = nibabel.load(twin), nibabel.load(path)
        assert ours.header == theirs.header
        np.testing.assert_allclose(ours.get_fdata(), theirs.get_fdata(), rtol=1e-6, atol=1e-6)


def test_a_new_store_is_scored_whole(fitted, normal_store):
    run = fitted(maps="none")
    new = normal_store([6, 9], name="new.zarr", first=20)
    found, _ = predict_detectors(load_detectors(run / "bundle"), new)
    assert set(found["part"]) == {"other"}
    assert len(found) == 2 * 2 * len(DETECTORS)
    assert found["score"].notna().all()


@pytest.mark.numerics
def test_a_finer_store_is_rounded_as_the_fit_was(fitted, normal_store, caplog):
    run = fitted(maps="none")
    bundle = load_detectors(run / "bundle")
    coarse, _ = predict_detectors(bundle, normal_store([6, 9], name="coarse.zarr", first=20))
    fine, _ = predict_detectors(bundle, normal_store([6, 9], name="fine.zarr", first=20, storage="float32"))
    np.testing.assert_allclose(coarse["score"], fine["score"], rtol=1e-6, atol=1e-7)
    assert "other arithmetic" in caplog.text


def test_other_embeddings_and_contrasts_are_refused(fitted, normal_store):
    bundle = load_detectors(fitted(maps="none") / "bundle")
    with pytest.raises(StoreMismatch, match="weights_sha256"):
        predict_detectors(bundle, normal_store([6], name="weights.zarr", first=20, weights="other"))
    t2 = normal_store(
        [6, 7], name="t2.zarr", first=20, record=lambda _: {"entities": Entities(contrast="T2w")}
    )
    with pytest.raises(SlicecacheError, match="contrast T2w: p020/T1w, p021/T1w"):
        predict_detectors(bundle, t2)
    found, warnings = predict_detectors(bundle, t2, allow_unlike=True)
    assert found["score"].notna().all()
    assert "unlike the reference group" in warnings[0]


def test_a_bundle_carries_its_state_and_no_place_of_this_machine(fitted, tmp_path):
    run = fitted(maps="none")
    bundle = load_detectors(run / "bundle")
    text = (run / "bundle" / "bundle.json").read_text()
    assert str(tmp_path) not in text
    assert bundle.card.profile.contrasts == ("T1w",)
    people = bundle.card.participants
    assert sorted(name for names in people.values() for name in names) == [f"p{n:03d}" for n in range(7)]
    assert [(one.name, one.seed) for one in bundle.fitted][:2] == [("memory_bank", 0), ("memory_bank", 1)]
    first, second = bundle.fitted[0].detector.state(), bundle.fitted[1].detector.state()
    assert not torch.equal(first["bank"], second["bank"])


@pytest.mark.parametrize("file", ["bundle.json", "members.safetensors"])
def test_a_damaged_bundle_is_refused(fitted, file):
    bundle = fitted(maps="none") / "bundle"
    path = bundle / file
    path.write_bytes(path.read_bytes().replace(b"memory_bank", b"memory_bang"))
    with pytest.raises(SlicecacheError):
        load_detectors(bundle)


def test_the_command_tells_bundles_apart(fitted, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["slicecache"])
    run = fitted(maps="none")
    assert is_detector_bundle(run / "bundle")
    assert not is_detector_bundle(tmp_path)
    store = str(tmp_path / "normal.zarr")
    out = tmp_path / "out.csv"
    maps = tmp_path / "maps"
    command = ["predict", str(run / "bundle"), store, "--out", str(out), "--maps", str(maps)]
    assert conductor.guarded(conductor.cli.main, command) == 0
    assert len(pd.read_csv(out)) == len(LENGTHS) * 2 * len(DETECTORS)
    assert list(maps.rglob("*.nii.gz"))
    capsys.readouterr()
    assert conductor.guarded(conductor.cli.main, ["predict", str(run / "bundle"), store, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["predictions"]
    assert {row["detector"] for row in rows} == {spec["kind"] for spec in DETECTORS}
