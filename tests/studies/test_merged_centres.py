"""Two centres that pool their stores get what one store of everybody gives; mixed arithmetic is said."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from attacks.scene import ARCHIVE, Answer, run
from conftest import Scan
from made_up_store import example_arrays, example_draft, example_header, example_row

from aggregate.baselines.baselines import from_acquisition
from aggregate.cohort.cohort import load_cohort
from aggregate.cohort.folds import make_folds
from aggregate.cohort.people import FoldSpec
from aggregate.cohort.request import CohortRequest
from aggregate.targets.classification import ClassificationSpec
from cache_schema.format.identity import VolumeKey
from cache_schema.move.merging.merge import merge_stores
from cache_schema.store.reader import open_store
from cache_schema.store.writer import StoreWriter

SECOND = ("sub-00", "sub-03", "sub-04", "sub-07", "sub-08")
"""Participants of the second centre; each has patients and controls, and one a volume that fails."""


def said(verb: str, *arguments: object, code: int = 0) -> Answer:
    answer = run(verb, [str(argument) for argument in arguments])
    assert answer.code == code, answer.text
    return answer


@pytest.fixture(scope="module")
def centres(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `all`, `first` and `second`: each with images, pipeline and an extracted store."""
    root = tmp_path_factory.mktemp("centres")
    everybody = {path.name for path in (ARCHIVE / "images").glob("sub-*")}
    for name, absent in (("all", ()), ("first", SECOND), ("second", everybody - set(SECOND))):
        ignore = shutil.ignore_patterns(*absent)
        shutil.copytree(ARCHIVE / "images", root / name / "images", ignore=ignore)
        shutil.copy(ARCHIVE / "pipeline.yaml", root / name)
        failed = (root / name / "images" / "sub-09").exists()
        said("extract", root / name / "pipeline.yaml", code=int(failed))
    return root


def trained(root: Path, store: Path, folder: str) -> Path:
    overrides = (f"cache.store={store}", f"run.folder={root / folder}")
    said("train", root / "all" / "pipeline.yaml", *(a for text in overrides for a in ("--set", text)))
    return root / folder / "train"


def test_training_on_a_merge_is_training_on_one_store_byte_for_byte(centres: Path) -> None:
    whole, merged = centres / "all" / "unsealed.zarr", centres / "merged.zarr"
    halves = [centres / name / "unsealed.zarr" for name in ("second", "first")]
    answer = said("cache merge", *halves, "--out", merged, "--json")
    digest = json.loads(said("cache inspect", whole, "--json").out)["content_digest"]
    assert json.loads(answer.out)["content_digest"] == digest
    said("cache verify", "--full", merged)
    one, both = trained(centres, whole, "one"), trained(centres, merged, "both")
    for name in ("predictions.csv", "metrics.json", "bundle/bundle.json", "bundle/members.safetensors"):
        assert (one / name).read_bytes() == (both / name).read_bytes(), name


def test_a_mixed_store_is_recomputed_with_each_volumes_own_arithmetic_and_training_says_it(
    centres: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other, merged = centres / "second" / "bf16.zarr", centres / "mixed.zarr"
    pipeline = centres / "second" / "pipeline.yaml"
    options = ("--set", f"cache.store={other}", "--set", "extract.dtype=bfloat16")
    said("extract", pipeline, *options, code=int((centres / "second" / "images" / "sub-09").exists()))
    halves = (other, centres / "first" / "unsealed.zarr")
    refused = said("cache merge", *halves, "--out", merged, code=2)
    assert "compute_dtype is" in refused.err
    told = said("cache merge", *halves, "--out", merged, "--mixed-numerics")
    assert "WARNING: numerics are mixed" in told.out
    assert "as records say" in said("cache inspect", merged).out
    recomputed = said(
        "recompute", merged, "--slices", 20, "--pipeline", centres / "all" / "pipeline.yaml", "--json"
    )
    assert json.loads(recomputed.out)["ok"]
    overrides = ("--set", f"cache.store={merged}", "--set", f"run.folder={centres / 'of-mixed'}")
    answer = said("train", centres / "all" / "pipeline.yaml", *overrides)
    assert "WARNING: the cohort mixes numerics: compute_dtype bfloat16 (5 volumes)" in answer.text
    folder = centres / "of-mixed" / "train"
    metrics = json.loads((folder / "metrics.json").read_text())
    assert sum("mixes numerics" in sentence for sentence in metrics["warnings"]) == 1
    assert "the cohort mixes numerics" in (folder / "report.html").read_text()
    said("predict", folder, merged, "--out", centres / "p.csv")
    assert "other arithmetic" in caplog.text


def of_one_arithmetic(location: Path, people: list[str], compute: str) -> str:
    """Volumes of random tokens that are acquired alike."""
    header = example_header(slice_chunk=5, compute=compute)
    keys = [VolumeKey(name, "", "T1w") for name in people]
    writer = StoreWriter.open(str(location), header, [example_row(key, 3) for key in keys], durable=False)
    for key in keys:
        arrays = example_arrays(header, 3, int(key.participant_id))
        writer.commit(example_draft(key, Scan("").n_slices), arrays)
    return str(location)


def test_the_acquisition_baseline_knows_the_arithmetic(tmp_path: Path) -> None:
    people = [f"{number:02d}" for number in range(24)]
    stores = [
        of_one_arithmetic(tmp_path / compute, people[place::2], compute)
        for place, compute in enumerate(("float32", "bfloat16"))
    ]
    mixed = open_store(merge_stores(stores, str(tmp_path / "mixed"), mixed_numerics=True).location)
    table = tmp_path / "participants.tsv"
    lines = [f"{name}\t{'ab'[int(name) % 2]}" for name in people]
    table.write_text("\n".join(["participant_id\tlabel", *lines]) + "\n")
    request = CohortRequest(table=table, target=ClassificationSpec(column="label"))
    cohort = load_cohort(request, mixed)
    assert sorted(set(cohort.acquisition["numerics"])) == [
        "compute_dtype bfloat16",
        "compute_dtype float32",
    ]
    assert ["mixes numerics" in sentence for sentence in cohort.warnings] == [True]
    folds = make_folds(cohort, FoldSpec(n=3), None)
    found = from_acquisition("scanner_only", cohort, folds)
    for fold, logits in zip(folds, found.logits, strict=True):
        np.testing.assert_array_equal(logits.argmax(axis=1), cohort.y[fold.test])
    alike = load_cohort(request, open_store(of_one_arithmetic(tmp_path / "alike", people, "float32")))
    assert "numerics" not in alike.acquisition
    assert alike.warnings == ()
