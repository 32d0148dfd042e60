"""Recomputing slices from their images: what the header says must be how the numbers were made."""

import json
import os
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import yaml

import slicecache
from cache_schema.common.errors import ConfigError, StoreMismatch
from cache_schema.common.pipeline_file import load_pipeline
from cache_schema.store.reader import open_store
from extract.backbones import transformer
from extract.cli import read_extract_section
from extract.extraction import run_extraction
from extract.recompute import compare as deep_compare
from extract.recompute.compare import compare_tokens
from extract.recompute.recompute import recompute
from extract.recompute.sample import draw_slices
from extract.slices.intensity import Percentile

pytestmark = pytest.mark.numerics

ALL = "extract.tokens=[cls, patch_mean, patches, cls_attention]"


def write_volume(path: Path, seed: int, shape: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij"))
    ball = (grid**2).sum(axis=0) < 0.6
    values = (ball * (rng.uniform(50, 200, shape) + 300 * (grid[1] > 0))).astype(np.float32)
    nib.save(nib.Nifti1Image(values, np.diag([5, 5, 5, 1])), path)


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    """Three participants as a manifest, a pipeline file beside it."""
    rows = ["participant_id\tpath"]
    (tmp_path / "images").mkdir()
    for index in range(3):
        write_volume(tmp_path / "images" / f"{index}.nii.gz", index, (31, 37, 19 + index))
        rows.append(f"p{index}\timages/{index}.nii.gz")
    (tmp_path / "volumes.tsv").write_text("\n".join(rows) + "\n")
    section = {
        "input": {"manifest": "volumes.tsv"},
        "canvas": 56,
        "backbone": {"kind": "untrained", "size": "tiny"},
        "dtype": "float32",
        "workers": 0,
    }
    data = {"run": {"folder": "run"}, "cache": {"store": "run/cache.zarr"}, "extract": section}
    (tmp_path / "pipeline.yaml").write_text(yaml.safe_dump(data))
    return tmp_path


def made(cohort: Path, *overrides: str) -> str:
    loaded = load_pipeline(cohort / "pipeline.yaml", overrides)
    return run_extraction(loaded, read_extract_section(loaded), progress=False).store


def command(*arguments: str) -> int:
    return slicecache.guarded(slicecache.cli.main, ["recompute", *arguments])


@pytest.mark.parametrize(
    "override", [ALL, "extract.preset=dinoatten3d", "extract.layers=[1]", "extract.storage=float32"]
)
def test_an_honest_store_comes_back_to_the_last_bit(cohort, override):
    # Bits: the content digest is free of batches, so other batches on this machine give the same numbers.
    checked = recompute(made(cohort, override), 11)
    assert checked.problems == ()
    assert (checked.n_slices, checked.n_volumes) == (11, 3)
    assert checked.identical


def test_bfloat16_comes_back_too(cohort):
    assert recompute(made(cohort, "extract.dtype=bfloat16"), 5).identical


def test_another_position_table_is_found(cohort, monkeypatch):
    original = transformer.resample_positions
    monkeypatch.setattr(
        transformer, "resample_positions", lambda table, grid, rule: original(table, grid, rule).flip(0)
    )
    store = made(cohort, ALL)
    monkeypatch.undo()
    checked = recompute(store, 6)
    assert {"cls", "patches"} <= {problem.array for problem in checked.problems}
    assert {"foreground", "patch_intensity"} & {problem.array for problem in checked.problems} == set()
    assert checked.problems[0].volume.startswith("p")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_another_intensity_rule_is_found(cohort, monkeypatch, dtype):
    honest = Percentile.model_fields["high"].default
    store = made(cohort, "extract.intensity={kind: percentile, high: 90.0}", f"extract.dtype={dtype}")
    header = Path(store) / "header.json"
    # The store says what it did; the check is then told that it did something else.
    assert recompute(store, 6).ok
    text = header.read_text()
    assert '"high":90.0' in text

    original = Percentile.model_dump

    def lying(self, **options):
        return {**original(self, **options), "high": honest}

    monkeypatch.setattr(Percentile, "model_dump", lying)
    shutil.rmtree(store)
    store = made(cohort, "extract.intensity={kind: percentile, high: 90.0}", f"extract.dtype={dtype}")
    monkeypatch.undo()
    assert f'"high":{honest}' in (Path(store) / "header.json").read_text()
    checked = recompute(store, 6)
    assert checked.reason == "made on this machine"
    assert {problem.array for problem in checked.problems} == {"cls", "patch_mean"}
    assert "at least" in checked.problems[0].problem


def test_another_machine_has_the_tolerance_of_the_dtype(cohort, monkeypatch):
    store = made(cohort, "extract.dtype=bfloat16")
    monkeypatch.setattr(deep_compare.platform, "node", lambda: "elsewhere")
    checked = recompute(store, 4)
    assert checked.tolerance == deep_compare.TOLERANCES["bfloat16"]
    assert checked.reason == "bfloat16 on another machine"


def test_a_changed_and_a_missing_source_are_said(cohort):
    store = made(cohort)
    os.utime(cohort / "images" / "0.nii.gz", ns=(1, 1))
    assert recompute(store, 99).ok
    write_volume(cohort / "images" / "0.nii.gz", 77, (31, 37, 19))
    (cohort / "images" / "1.nii.gz").unlink()
    checked = recompute(store, 99)
    assert [(problem.volume, problem.array) for problem in checked.problems] == [
        ("p0/0", "source"),
        ("p1/1", "source"),
    ]
    assert "has changed since it was embedded" in checked.problems[0].problem
    assert "there is no file" in checked.problems[1].problem
    assert checked.n_volumes == 1


def test_another_backbone_is_refused_naming_both(cohort, tmp_path):
    store = made(cohort)
    own = open_store(store).header.fingerprint.backbone.weights_sha256
    other = load_pipeline(cohort / "pipeline.yaml", ["extract.backbone.seed=1"])
    with pytest.raises(StoreMismatch, match=own) as refusal:
        recompute(store, 1, pipeline=other)
    assert "weights_sha256 is " in str(refusal.value)
    with pytest.raises(ConfigError, match="no folder"):
        recompute(store, 1, backbone_folder=tmp_path / "absent")


def test_images_that_moved_are_found_by_root_or_pipeline(cohort, tmp_path, capsys):
    store = made(cohort)
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for name in ("images", "volumes.tsv", "pipeline.yaml"):
        shutil.move(cohort / name, moved / name)
    assert command(store, "--slices", "3") == 2
    assert "--input FOLDER" in capsys.readouterr().err
    for place in (["--input", str(moved)], ["--input", str(moved / "volumes.tsv")]):
        assert command(store, "--slices", "3", *place) == 0
    assert command(store, "--slices", "3", "--pipeline", str(moved / "pipeline.yaml")) == 0


def test_the_command_speaks_and_counts(cohort, capsys):
    store = made(cohort)
    assert command(store, "--slices", "4") == 0
    printed = capsys.readouterr().out
    assert "made again: 4 slices of" in printed
    assert "all right, to the last bit" in printed
    assert command(store, "--slices", "4", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["ok"]
    assert answer["identical"]
    assert answer["n_slices"] == 4
    assert command(store) == 2
    assert "--slices" in capsys.readouterr().err
    (cohort / "images" / "0.nii.gz").unlink()
    assert command(store, "--slices", "99", "--json") == 1
    assert json.loads(capsys.readouterr().out)["ok"] is False
    assert command(store, "--slices", "99") == 1
    assert "p0/0, source: there is no file" in capsys.readouterr().out


def test_what_is_damaged_is_a_problem_of_its_volume(cohort, capsys):
    store = made(cohort)
    chunk = next((Path(store) / "cls").glob("c.0.*"))
    chunk.write_bytes(chunk.read_bytes()[:-1])
    assert command(store, "--slices", "99") == 1
    printed = capsys.readouterr().out
    assert "p0/0, cls" in printed
    assert "1 problem:" in printed


def test_the_draw_covers_all_slices_once(cohort):
    entries = open_store(made(cohort)).entries
    total = sum(entry.n_slices for entry in entries)
    everything = draw_slices(entries, 10_000, seed=3)
    assert [(entry.key, places) for entry, places in everything] == [
        (entry.key, list(range(entry.n_slices))) for entry in entries
    ]
    some = draw_slices(entries, 7, seed=3)
    assert sum(len(places) for _, places in some) == 7 < total
    assert some == draw_slices(entries, 7, seed=3) != draw_slices(entries, 7, seed=4)


def test_comparison_against_the_formula():
    rng = np.random.default_rng(0)
    stored = rng.normal(size=(3, 2, 5, 7))
    again = stored + 0.01 * rng.normal(size=stored.shape)
    cosine, difference, share = compare_tokens(stored, again, flat=False)
    for index in range(3):
        pairs = [(stored[index, row, col], again[index, row, col]) for row in range(2) for col in range(5)]
        worst = min(a @ b / np.sqrt((a @ a) * (b @ b)) for a, b in pairs)
        assert cosine[index] == pytest.approx(worst, abs=1e-12)
        assert difference[index] == max(abs(a - b).max() for a, b in pairs)
        largest = max(abs(stored[index]).max(), abs(again[index]).max())
        assert share[index] == pytest.approx(difference[index] / largest)
    again[1, 0, 0, 0] = np.nan
    cosine, difference, share = compare_tokens(stored, again, flat=False)
    assert (cosine[1], difference[1], share[1]) == (-1, np.inf, np.inf)
    assert np.isfinite(share[[0, 2]]).all()
