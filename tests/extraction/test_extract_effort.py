"""Hours, bytes, files and memory of a plan: estimates that say what they stand on."""

import json
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import yaml

import slicecache
from cache_schema.common.errors import ConfigError
from cache_schema.store.reader import open_store
from extract.backbones.shape import Outline
from extract.cluster.estimate import slice_operations
from extract.effort import measure
from extract.effort.needs import StoreNeeds, needs_of, told_range
from extract.effort.rate import Rate, stated_rate

KEYS = {
    "hours", "hours_range", "bytes", "inodes", "memory_bytes", "cores", "gpu", "slices", "slices_per_s",
    "decode_core_hours", "measured", "rate", "estimate",
}  # fmt: skip


@pytest.fixture
def cohort(tmp_path, monkeypatch) -> Path:
    """Six small heads, one of them damaged, and a pipeline."""
    monkeypatch.chdir(tmp_path)
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in (31, 37, 25)), indexing="ij"))
    for index in range(6):
        noise = np.random.default_rng(index).uniform(50, 200, grid.shape[1:])
        folder = tmp_path / f"bids/sub-{index}/anat"
        folder.mkdir(parents=True)
        values = np.where((grid**2).sum(axis=0) < 0.6, noise, 0).astype(np.float32)
        nib.save(nib.Nifti1Image(values, np.diag([5, 5, 5, 1])), folder / f"sub-{index}_T1w.nii.gz")
    (tmp_path / "bids/sub-5/anat/sub-5_T1w.nii.gz").write_bytes(b"no image")
    section = {"input": {"bids": "bids"}, "canvas": 56, "backbone": {"kind": "untrained"}, "workers": 0}
    data = {"run": {"folder": "run"}, "cache": {"store": "run/cache.zarr"}, "extract": section}
    (tmp_path / "pipeline.yaml").write_text(yaml.safe_dump(data))
    return tmp_path


def needs(capsys, *words) -> dict:
    assert slicecache.guarded(slicecache.cli.main, ["plan", "pipeline.yaml", "--json", *words]) == 1
    return json.loads(capsys.readouterr().out)["needs"]


def test_schedulers_read_keys(cohort, capsys):
    found = needs(capsys)
    assert found.keys() == KEYS
    assert (found["estimate"], found["measured"], found["slices"]) == (True, False, 5 * 25)
    at_ten = needs(capsys, "--rate", "10")
    assert at_ten["hours"] * 3600 == pytest.approx(12.5 + 2)
    assert at_ten["hours_range"] == [at_ten["hours"] / 4, at_ten["hours"]]
    assert needs(capsys, "--rate", "t4")["slices_per_s"] > needs(capsys, "--rate", "cpu")["slices_per_s"]
    assert slicecache.guarded(slicecache.cli.main, ["plan", "pipeline.yaml", "--rate", "10"]) == 1
    assert "estimate: 4 to 14 s (10 slices/s, 10 slices/s, as was said), at most" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--rate", "h100"), "--rate takes cpu, t4, gpu or slices a second"),
        (("--rate", "-3"), "not '-3'"),
        (("--rate", "nan"), "not 'nan'"),
        (("--rate", "10", "--measure"), "say one of them"),
    ],
)
def test_rates_that_are_none(cohort, capsys, words, said):
    assert slicecache.guarded(slicecache.cli.main, ["plan", "pipeline.yaml", *words]) == 2
    assert said in capsys.readouterr().err


def test_the_upper_bounds_hold(cohort, capsys):
    found = needs(capsys)
    slicecache.guarded(slicecache.cli.main, ["extract", "pipeline.yaml"])
    store = cohort / "run/cache.zarr"
    files = [path for path in store.rglob("*") if path.is_file()]
    assert len(open_store(store).entries) == 5
    assert sum(path.stat().st_size for path in files) <= found["bytes"]
    assert len(list(store.rglob("*"))) <= found["inodes"]


def test_a_second_of_this_machine(cohort, capsys, monkeypatch):
    monkeypatch.setattr(measure, "SECONDS", 0.1)
    monkeypatch.setattr(measure, "beside_few", lambda _, __, volumes: f"a word for {volumes} volumes")
    found = needs(capsys, "--measure")
    assert found["measured"] is True
    assert found["rate"].endswith("; a word for 5 volumes")
    assert found["slices"] < 5 * 25  # the sample keeps fewer than all
    assert "measured in 0.1 s on cpu" in found["rate"]
    assert found["slices_per_s"] > 1
    start = time.perf_counter()
    slicecache.guarded(slicecache.cli.main, ["extract", "pipeline.yaml"])
    assert found["hours"] * 3600 < 20 * (time.perf_counter() - start)  # the right order, on any machine


def test_weights_that_are_not_here_have_a_stand_in(cohort, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(measure, "SECONDS", 0.05)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "none"))
    found = needs(capsys, "--measure", "--set", "extract.backbone={kind: dinov2, size: small}")
    assert "2 blocks in place of all" in found["rate"]
    assert found["measured"] is True


def test_what_cannot_be_measured_is_stated(cohort, capsys, monkeypatch, caplog):
    for path in cohort.rglob("sub-*.nii.gz"):  # whole headers, and no voxels behind them
        path.write_bytes(path.read_bytes()[:2000])
    found = needs(capsys, "--measure")
    assert found["measured"] is False
    assert found["rate"].endswith("; none was measured")
    assert "no rate was measured" in caplog.text


def test_the_rate_of_a_device_follows_the_sizes(tmp_path):
    small, large = Outline(384, 6, (16, 16)), Outline(1024, 16, (16, 16))
    assert stated_rate("t4", small, 2).slices_per_s == pytest.approx(4e12 / slice_operations(small))
    assert stated_rate("t4", small, 2).slices_per_s > 10 * stated_rate("t4", large, 2).slices_per_s
    assert "for a ViT-L, since" in stated_rate("gpu", None, 2).said
    driver = tmp_path / "version"
    assert not stated_rate("here", small, 3, driver).gpu
    driver.touch()
    assert stated_rate("here", small, 3, driver).gpu
    with pytest.raises(ConfigError, match="--rate takes"):
        stated_rate("0", small, 2)


def test_decoding_runs_beside_a_gpu_and_before_a_cpu(cohort, capsys):
    from extract.planning.plan import PlannedVolume
    from extract.sources.candidate import Candidate, entities_of

    candidate = Candidate(None, Path("x"), "x", entities_of({}, ""))
    volumes = [PlannedVolume(candidate, (200, 200, 200), (1, 1, 1), 200, None)] * 100
    gpu, cpu = (Rate(1000, 1e-7, on, "so") for on in (True, False))
    slow = needs_of([StoreNeeds(volumes, None, None, gpu)], 3)
    assert slow.hours * 3600 == pytest.approx(100 * (0.8 + 0.2) / 2 + 2)  # two of three cores decode
    assert needs_of([StoreNeeds(volumes, None, None, cpu)], 2).hours * 3600 == pytest.approx(20 + 50 + 2)
    both = needs_of([StoreNeeds(volumes, None, None, cpu)] * 2, 2)
    assert both.hours * 3600 == pytest.approx(40 + 50 + 2)  # decoded once
    assert (both.bytes, both.inodes) == (None, None)
    assert told_range(*both.hours_range) == "23 to 92 s"


@pytest.mark.parametrize(
    ("least", "most", "said"),
    [
        (24, 37.5, "24.0 to 37.5 hours"),
        (0.4, 1.6, "24 to 96 minutes"),
        (0.15, 0.2, "9 to 12 minutes"),
        (0.004, 0.006, "14 to 22 s"),
        (0.0, 0.0, "about 0 s"),
    ],
)
def test_a_range_is_told_in_one_unit(least, most, said):
    assert told_range(least, most) == said


def test_what_is_measured_is_told_more_narrowly_than_what_is_stated():
    assert Rate(1, 1e-7, False, "so", measured=True).around(2.0) == (1.6, 2.5)
    assert Rate(1, 1e-7, False, "so").around(2.0) == (0.5, 2.0)
