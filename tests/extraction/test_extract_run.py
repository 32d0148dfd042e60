"""A whole extraction: resume, refusals, failures, and `kill -9`."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import yaml

import slicecache
from cache_schema.common.errors import ConfigError, StoreMismatch
from cache_schema.common.pipeline_file import Pipeline, load_pipeline
from cache_schema.move.pack import pack
from cache_schema.store.reader import open_store
from cache_schema.store.seal import seal
from extract.backbones.transformer import Transformer
from extract.cli import read_extract_section
from extract.extraction import run_extraction
from extract.said import describe_extraction

SLICES = 23


def write_volume(path: Path, seed: int, shape=(31, 37, SLICES)) -> None:
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij"))
    ball = (grid**2).sum(axis=0) < 0.6
    values = (ball * rng.uniform(50, 200, shape)).astype(np.float32)
    nib.save(nib.Nifti1Image(values, np.diag([5, 5, 5, 1])), path)


@pytest.fixture
def cohort(tmp_path) -> Path:
    """Five participants as a BIDS tree, and a pipeline file beside it."""
    for index in range(5):
        folder = tmp_path / "bids" / f"sub-{index:02}" / "anat"
        folder.mkdir(parents=True)
        write_volume(folder / f"sub-{index:02}_T1w.nii.gz", index, (31, 37, SLICES + index))
    section = {
        "input": {"bids": "bids", "suffix": "T1w"},
        "canvas": 56,
        "backbone": {"kind": "untrained", "size": "tiny"},
        "dtype": "float32",
        "engine": "torch",
        "workers": 0,
    }
    data = {"run": {"folder": "run"}, "cache": {"store": "run/cache.zarr"}, "extract": section}
    (tmp_path / "pipeline.yaml").write_text(yaml.safe_dump(data))
    return tmp_path


def run(cohort: Path, *overrides: str, progress: bool = False):
    pipeline: Pipeline = load_pipeline(cohort / "pipeline.yaml", overrides)
    return run_extraction(pipeline, read_extract_section(pipeline), progress=progress)


def first_volume(cohort: Path) -> Path:
    return cohort / "bids" / "sub-00" / "anat" / "sub-00_T1w.nii.gz"


@pytest.mark.parametrize("finish", [seal, pack])
def test_a_finished_store_with_failures_stays_as_it_is(cohort, finish):
    """Whether its header or only its voxels speak against a volume."""
    nib.save(nib.Nifti1Image(np.ones((9, 9, 9), np.int16), np.eye(4)), first_volume(cohort))
    (cohort / "bids" / "sub-01" / "anat" / "sub-01_T1w.nii.gz").write_bytes(b"")
    first = run(cohort)
    assert (first.embedded, first.failed) == (3, 2)
    finish(first.store)
    before = {path: path.stat().st_mtime_ns for path in Path(first.store).rglob("*") if path.is_file()}
    again = run(cohort)
    assert (again.embedded, again.skipped, again.failed) == (0, 3, 2)
    assert open_store(first.store).sealed
    assert before == {
        path: path.stat().st_mtime_ns for path in Path(first.store).rglob("*") if path.is_file()
    }
    first_volume(cohort).write_bytes(b"x" * 1000)
    if finish is seal:
        assert run(cohort).failed == 2
        assert not open_store(first.store).sealed  # another reason is news


@pytest.fixture
def forward_passes(monkeypatch) -> list[int]:
    """Slices of every forward pass from here on."""
    seen: list[int] = []
    original = Transformer.__call__

    def counted(self, pixels):
        seen.append(len(pixels))
        return original(self, pixels)

    monkeypatch.setattr(Transformer, "__call__", counted)
    return seen


def test_everything_is_embedded_once(cohort, forward_passes):
    outcome = run(cohort)
    assert (outcome.embedded, outcome.skipped, outcome.failed) == (5, 0, 0)
    store = open_store(outcome.store)
    assert outcome.slices == sum(entry.n_slices for entry in store.entries)
    assert len(forward_passes) == -(-outcome.slices // 8)
    assert store.content_digest() == outcome.content_digest
    assert all(store.preview(entry.key) for entry in store.entries)
    record = store.record(store.entries[0].key)
    assert record.seconds.keys() == {"read", "prepare", "waiting", "embed", "write"}
    assert store.header.created["batch_size"] == 64
    assert (
        cohort / "run" / "failures.tsv"
    ).read_text() == "participant_id\tsession_id\tvolume_id\tpath\treason\n"
    assert "5 volumes embedded" in describe_extraction(outcome)

    forward_passes.clear()
    again = run(cohort)
    assert (again.embedded, again.skipped, again.failed, again.slices) == (0, 5, 0, 0)
    assert forward_passes == []
    assert again.content_digest == outcome.content_digest


@pytest.mark.numerics
def test_a_store_does_not_tell_that_equal_slices_were_embedded_once(cohort, forward_passes, monkeypatch):
    """Of all slices of a ball in air, those above and below it are the same."""
    outcome = run(cohort, "extract.slices={kind: all}")
    assert outcome.repeated > 10
    assert len(forward_passes) == -(-(outcome.slices - outcome.repeated) // 8)
    assert f"; {outcome.repeated} equal to others" in describe_extraction(outcome)
    assert outcome.as_json()["seconds_by_stage"].keys() == {"read", "prepare", "waiting", "embed", "write"}
    monkeypatch.setattr("extract.slices.prepare.first_equal", lambda images, mask: None)
    whole = run(cohort, "extract.slices={kind: all}", "cache.store=run/whole.zarr")
    assert whole.repeated == 0
    assert whole.content_digest == outcome.content_digest


@pytest.mark.numerics
def test_digest_is_free_of_batch_workers_and_order_of_arrival(cohort):
    """A law of the store on one machine, so that a killed or sharded extraction ends at the same digest."""
    reference = run(cohort)
    for name, override in [("a", "extract.batch_size=3"), ("b", "extract.workers=2")]:
        other = run(cohort, f"cache.store=run/{name}.zarr", override)
        assert other.content_digest == reference.content_digest
    first_volume(cohort).rename(cohort / "later.nii.gz")
    run(cohort, "cache.store=run/c.zarr")
    (cohort / "later.nii.gz").rename(first_volume(cohort))
    assert run(cohort, "cache.store=run/c.zarr").content_digest == reference.content_digest


def test_all_tokens(cohort):
    outcome = run(cohort, "extract.tokens=[cls, patch_mean, patches, cls_attention]", "extract.layers=[1]")
    store = open_store(outcome.store)
    key = store.entries[0].key
    count = store.entries[0].n_slices
    shapes = {spec.name: store.read_volume(spec.name, key).shape for spec in store.header.arrays}
    assert shapes == {
        "cls": (count, 128),
        "cls_l01": (count, 128),
        "patch_mean": (count, 128),
        "patches": (count, 4, 4, 128),
        "cls_attention": (count, 4, 4, 4),
        "foreground": (count, 4, 4),
        "patch_intensity": (count, 4, 4),
    }


def test_a_bad_volume_is_a_row_and_the_others_go_on(cohort):
    bad = cohort / "bids" / "sub-01" / "anat" / "sub-01_T1w.nii.gz"
    bad.write_bytes(bad.read_bytes()[:2000])
    outcome = run(cohort, "extract.workers=1")
    assert (outcome.embedded, outcome.failed) == (4, 1)
    header, row = (cohort / "run" / "failures.tsv").read_text().splitlines()
    assert row.split("\t")[0] == outcome.failures[0].participant_id
    assert len(row.split("\t")) == len(header.split("\t"))
    assert [failure.reason for failure in open_store(outcome.store).failures()] == [
        outcome.failures[0].reason
    ]
    write_volume(bad, 1)
    mended = run(cohort)
    assert (mended.embedded, mended.skipped, mended.failed) == (1, 4, 0)
    assert open_store(mended.store).failures() == ()


def test_a_changed_source_is_a_failure_unless_replaced(cohort):
    before = run(cohort)
    touched = first_volume(cohort)
    os.utime(touched, ns=(1, 1))
    assert run(cohort).skipped == 5
    write_volume(touched, 99)
    outcome = run(cohort)
    assert (outcome.embedded, outcome.skipped, outcome.failed) == (0, 4, 1)
    assert "changed" in outcome.failures[0].reason
    assert outcome.content_digest == before.content_digest
    replaced = run(cohort, "extract.replace=true")
    assert (replaced.embedded, replaced.skipped, replaced.failed) == (1, 4, 0)
    assert replaced.content_digest != before.content_digest
    fresh = run(cohort, "cache.store=run/fresh.zarr")
    assert fresh.content_digest == replaced.content_digest


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("extract.intensity={kind: percentile, low: 1.0}", "low"),
        ("extract.field_mm=230", "field_mm"),
        ("extract.backbone.seed=1", "weights_sha256"),
        ("extract.dtype=bfloat16", "compute_dtype"),
        ("extract.storage=float32", "storage_dtype"),
        ("extract.tokens=[cls]", "patch_mean"),
        ("extract.slices={kind: uniform, n: 3}", "uniform"),
    ],
)
def test_a_store_made_otherwise_is_refused_by_name(cohort, override, named):
    for index in (1, 2, 3, 4):
        (cohort / "bids" / f"sub-{index:02}" / "anat" / f"sub-{index:02}_T1w.nii.gz").unlink()
    run(cohort)
    with pytest.raises(StoreMismatch, match=named):
        run(cohort, override)


def test_auto_obeys_the_store(cohort):
    run(cohort, "extract.dtype=bfloat16")
    assert run(cohort, "extract.dtype=auto").skipped == 5
    run(cohort, "extract.dtype=float32", "cache.store=run/other.zarr")
    assert run(cohort, "extract.dtype=auto", "cache.store=run/other.zarr").skipped == 5


def test_one_weight_of_a_local_backbone_is_enough_to_be_refused(cohort):
    import torch
    import transformers as hf

    torch.manual_seed(0)
    config = hf.Dinov2Config(
        hidden_size=48, num_hidden_layers=2, num_attention_heads=3, image_size=70, patch_size=14
    )
    model = hf.Dinov2Model(config)
    model.save_pretrained(cohort / "weights")
    local = "extract.backbone={kind: dinov2, path: weights}"
    assert run(cohort, local).embedded == 5
    assert run(cohort, local).skipped == 5
    with torch.no_grad():
        model.encoder.layer[0].norm1.weight[7] += 1e-4
    model.save_pretrained(cohort / "weights")
    with pytest.raises(StoreMismatch, match="weights_sha256"):
        run(cohort, local)


def test_an_input_without_volumes_is_said(cohort):
    with pytest.raises(ConfigError):
        run(cohort, "extract.input.suffix=T9w")


def test_progress_goes_to_standard_error_as_lines(cohort, capsys):
    run(cohort, progress=True)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "5/5 volumes, 0 failed" in captured.err


def command(cohort: Path, *extra: str) -> list[str]:
    return [sys.executable, "-m", "slicecache", *extra, str(cohort / "pipeline.yaml")]


def test_commands_answer_in_json_and_in_words(cohort, capsys):
    def said(verb, *words):
        assert slicecache.guarded(slicecache.cli.main, [*command(cohort, verb)[3:], *words]) == 0
        return capsys.readouterr().out

    assert json.loads(said("plan", "--json"))["embeddable"] == 5
    made = subprocess.run([*command(cohort, "extract"), "--json"], capture_output=True, text=True, check=True)
    assert json.loads(made.stdout)["embedded"] == 5
    assert "5 volumes to embed, 0 cannot be" in said("plan")


def kill_and_resume(cohort: Path, store: str, moment: float) -> tuple[int, str]:
    """Kill an extraction after `moment` seconds, finish it, and give the killed one's code and the digest."""
    arguments = ["--set", f"cache.store=run/{store}.zarr", "--set", "extract.workers=1"]
    process = subprocess.Popen(
        [*command(cohort, "extract"), *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    time.sleep(moment)
    process.send_signal(signal.SIGKILL)
    code = process.wait()
    return code, run(cohort, f"cache.store=run/{store}.zarr").content_digest


def wait_for_record(cohort: Path, store: str, count: int) -> int:
    """Kill an extraction as soon as `count` records are there."""
    arguments = ["--set", f"cache.store=run/{store}.zarr", "--set", "extract.workers=1"]
    process = subprocess.Popen(
        [*command(cohort, "extract"), *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    folder = cohort / "run" / f"{store}.zarr" / "records"
    while process.poll() is None and sum(1 for _ in folder.glob("*/*.json")) < count:
        time.sleep(0.002)
    process.kill()
    return process.wait()


@pytest.mark.numerics
def test_a_killed_extraction_resumes_to_the_same_digest(cohort):
    reference = run(cohort).content_digest
    wait_for_record(cohort, "killed", 2)
    resumed = run(cohort, "cache.store=run/killed.zarr")
    assert resumed.skipped >= 2
    assert resumed.content_digest == reference


@pytest.mark.slow
def test_five_kills_at_random_moments_change_nothing(cohort):
    reference = run(cohort).content_digest
    start = time.perf_counter()
    subprocess.run(command(cohort, "extract"), check=True, capture_output=True)
    whole = time.perf_counter() - start + 1.0
    rng = random.Random(0)
    for index in range(5):
        _, digest = kill_and_resume(cohort, f"killed{index}", rng.uniform(0.3, whole))
        assert digest == reference
