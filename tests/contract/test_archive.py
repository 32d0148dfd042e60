"""What version 1.0 stored opens, verifies, resumes and predicts for ever: see `data/v1/README.md`."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from aggregate.anomaly.study.bundle import load_detectors
from aggregate.anomaly.study.predict import predict_detectors
from aggregate.predict.bundle import load_bundle
from aggregate.predict.predict import predict_store
from cache_schema.common.pipeline_file import load_pipeline
from cache_schema.format.identity import VolumeKey
from cache_schema.store.reader import StoreReader, open_store
from cache_schema.store.seal import seal
from cache_schema.verify.verify import verify_store
from extract.cli import read_extract_section
from extract.extraction import run_extraction
from extract.outcome import Outcome

ARCHIVE = Path(__file__).parents[1] / "data" / "v1"
EXPECTED: dict[str, Any] = json.loads((ARCHIVE / "expected.json").read_text())
STORES: dict[str, dict[str, Any]] = EXPECTED["stores"]
KEYS = ["participant_id", "session_id", "volume_id"]

each_store = pytest.mark.parametrize("name", STORES)


def found_in(store: StoreReader) -> dict[str, Any]:
    """What `expected.json` says of a store."""
    return {
        "fingerprint": store.header.fingerprint.digest,
        "numerics": store.header.numerics.digest,
        "header_sha256": store.header.digest,
        "content_digest": store.content_digest(),
        "volumes": {
            str(entry.key): {
                "row": entry.row,
                "n_slices": entry.n_slices,
                "digest": entry.digest,
                "record_sha256": store.record(entry.key).self_hash(),
            }
            for entry in store.entries
        },
        "failures": [str(failure.key) for failure in store.failures()],
        "table": [str(row.key) for row in store.table()],
    }


@each_store
def test_every_form_is_small_and_says_what_it_said(name):
    path = ARCHIVE / name
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) < 200_000
    expected = {key: value for key, value in STORES[name].items() if key != "sealed_index_sha256"}
    assert found_in(open_store(path)) == expected


def test_fingerprint_and_numerics_are_literally_these():
    header = open_store(ARCHIVE / "unsealed.zarr").header
    assert header.fingerprint.digest == "7d6621b4c33645274d1b92e4515608e341f000827bdef9130fc5b585ce5fde5b"
    assert header.numerics.digest == "e099e851f2e673296a98b7f5fe01c29140b8c67e355e179e298d9bb431b4558f"


def test_the_seal_is_the_one_that_was_put_and_would_be_put_again(tmp_path):
    shutil.copytree(ARCHIVE / "sealed.zarr", tmp_path / "again.zarr")
    seal(str(tmp_path / "again.zarr"))
    for name in ("index.json", "records.jsonl"):
        kept = (ARCHIVE / "sealed.zarr" / "sealed" / name).read_bytes()
        assert (tmp_path / "again.zarr" / "sealed" / name).read_bytes() == kept
    for name in ("sealed.zarr", "packed.zarr"):
        index = json.loads((ARCHIVE / name / "sealed" / "index.json").read_text())
        assert index["sha256"] == STORES[name]["sealed_index_sha256"]
        assert open_store(ARCHIVE / name).sealed


@each_store
def test_every_form_verifies_clean(name):
    found = verify_store(str(ARCHIVE / name), full=True)
    assert found.ok, found.as_json()


@pytest.mark.parametrize("name", [name for name in STORES if name != "sealed.zarr"])
def test_every_form_holds_the_numbers_of_the_sealed_one(name):
    store, sealed = open_store(ARCHIVE / name), open_store(ARCHIVE / "sealed.zarr")
    for spec in sealed.header.arrays:
        for entry in store.entries:
            np.testing.assert_array_equal(
                store.read_volume(spec.name, entry.key), sealed.read_volume(spec.name, entry.key)
            )


def resumed(folder: Path) -> tuple[Outcome, Path]:
    """Go on with a copy of the unsealed store, from the archive's images."""
    for name in ("unsealed.zarr", "images"):
        shutil.copytree(ARCHIVE / name, folder / name)
    shutil.copy(ARCHIVE / "pipeline.yaml", folder)
    pipeline = load_pipeline(folder / "pipeline.yaml")
    return run_extraction(pipeline, read_extract_section(pipeline), progress=False), folder / "unsealed.zarr"


def test_the_unsealed_store_is_resumed(tmp_path):
    outcome, place = resumed(tmp_path)
    # Copied images have another mtime, so that their hashes decide: all are known to be what they were.
    assert (outcome.embedded, outcome.skipped, outcome.failed) == (1, 8, 1)
    for path in (ARCHIVE / "unsealed.zarr").rglob("*"):
        if path.is_file() and "failures" not in path.parts:
            assert (place / path.relative_to(ARCHIVE / "unsealed.zarr")).read_bytes() == path.read_bytes()
    store, sealed = open_store(place), open_store(ARCHIVE / "sealed.zarr")
    new = next(entry.key for entry in sealed.entries if str(entry.key) == EXPECTED["planned"])
    assert isinstance(new, VolumeKey)
    assert store.entry(new).row == sealed.entry(new).row
    for spec in sealed.header.arrays:
        # Float32 sums differ among processors, and then float16 rounds: tokens are of size 1.
        theirs = sealed.read_volume(spec.name, new).astype(np.float64)
        np.testing.assert_allclose(store.read_volume(spec.name, new), theirs, rtol=0, atol=1e-2)
    assert store.record(new).slices == sealed.record(new).slices
    assert store.record(new).geometry == sealed.record(new).geometry
    assert verify_store(str(place), full=True).ok
    seal(str(place))
    assert open_store(place).sealed


@pytest.mark.parametrize("name", ["sealed.zarr", "store.h5"])
def test_the_trained_bundle_predicts_what_it_predicted(name):
    table = predict_store(load_bundle(ARCHIVE / "train" / "bundle"), open_store(ARCHIVE / name))
    expected = pd.DataFrame(EXPECTED["logits"])
    assert list(table) == list(expected)
    same = [*KEYS, "members", "predicted"]
    pd.testing.assert_frame_equal(table[same], expected[same], check_dtype=False)
    numbers = [column for column in table if column not in same]
    # Float32 products in another order: logits of size 5.
    np.testing.assert_allclose(table[numbers], expected[numbers], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["sealed.zarr", "store.zip"])
def test_the_detectors_score_what_they_scored(name):
    bundle = load_detectors(ARCHIVE / "detect" / "bundle")
    table, warnings = predict_detectors(bundle, open_store(ARCHIVE / name))
    expected = pd.DataFrame(EXPECTED["scores"])
    assert warnings == []
    same = [*KEYS, "detector", "seed", "part"]
    pd.testing.assert_frame_equal(table[same], expected[same], check_dtype=False)
    # In standard deviations of few calibration slices, by which float32 noise is divided.
    np.testing.assert_allclose(table["score"], expected["score"].astype(float), rtol=1e-4, atol=1e-5)
    assert table["score"].notna().sum() == 30


@pytest.mark.parametrize("verb", ["train", "detect"])
def test_run_folders_name_the_fingerprint_of_their_store(verb):
    metrics = json.loads((ARCHIVE / verb / "metrics.json").read_text())
    assert metrics["fingerprint"] == STORES["sealed.zarr"]["fingerprint"]


GROWN = """
import sys

import pytest

from cache_schema.common import strict as models


class Grown(models.Strict):
    invented: str = models.later("as before")


models.Strict = Grown  # before any model is made: each one inherits the field


def family(model):
    return {model.__name__}.union(*(family(child) for child in model.__subclasses__()))


code = pytest.main(["-q", "-p", "no:cacheprovider", "-k", "not invented", sys.argv[1]])
assert all("invented" in child.model_fields for child in Grown.__subclasses__())
print("grown:", *sorted(family(Grown)))
sys.exit(code)
"""
"""Runs this file with one field more in every model that there is."""

STORED = [
    "Header",
    "Fingerprint",
    "BackboneIdentity",
    "Numerics",
    "ArraySpec",
    "VolumeDraft",
    "VolumeRecord",
    "SourceFile",
    "Entities",
    "Geometry",
    "Slices",
    "UsedForeground",
    "Failure",
    "TableRow",
    "Segment",
    "SealedIndex",
    "BundleCard",
    "Member",
    "DetectorCard",
    "DetectorMember",
    "ReferenceProfile",
    "AttentionSpec",
    "MemoryBankSpec",
    "PatchcoreSpec",
    "MahalanobisSpec",
    "DinoAdSpec",
    "DpmmSpec",
    "OrientSpec",
    "ForegroundSpec",
    "Percentile",
    "FieldCanvas",
    "NormaliseSpec",
    "Every",
]
"""The models of what the archive holds."""


def test_an_invented_field_in_every_model_changes_nothing():
    """All of the above once more, in a process of its own: digests literally the same."""
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", GROWN, str(Path(__file__))]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    grown = done.stdout.splitlines()[-1].removeprefix("grown: ").split()
    assert set(STORED) <= set(grown)
