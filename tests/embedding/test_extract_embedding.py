"""`embed` in memory: what `extract` stores, from a file, an image or an array, and nothing written."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from cache_schema.common.errors import ConfigError, VolumeError
from cache_schema.common.pipeline_file import Pipeline
from cache_schema.store.reader import open_store
from extract.embedding import embed
from extract.extraction import run_extraction
from extract.planning.config import ExtractSection

AFFINE = np.array([[0.0, 0, 5, -60], [-5, 0, 0, 80], [0, 5, 0, -40], [0, 0, 0, 1]])
HOW = {"backbone": {"kind": "untrained"}, "canvas": 56, "dtype": "float32", "device": "cpu"}
TOKENS = ["patch_mean", "patches", "cls_attention"]


def made_up() -> tuple[np.ndarray, np.ndarray]:
    """An odd-shaped head in PSR order, and a mask of its upper half."""
    shape = (31, 23, 37)
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij"))
    ball = (grid**2).sum(axis=0) < 0.6
    values = ball * np.random.default_rng(3).uniform(50, 200, shape) * (1 + (grid[0] > 0))
    return values.astype(np.float32), (ball & (grid[1] > -0.3)).astype(np.uint8)


@pytest.fixture
def files(tmp_path) -> Path:
    values, mask = made_up()
    nib.save(nib.Nifti1Image(values, AFFINE), tmp_path / "head_T1w.nii.gz")
    nib.save(nib.Nifti1Image(mask, AFFINE), tmp_path / "mask.nii.gz")
    return tmp_path


def stored(files: Path, table: str, **options):
    """A store of that one volume, extracted with the same options."""
    (files / "v.csv").write_text(table)
    section = ExtractSection.model_validate(
        {"input": {"manifest": "v.csv"}, "workers": 0, "tokens": TOKENS, **HOW, **options}
    )
    data = {"run": {"folder": "run"}, "cache": {"store": "run/c.zarr"}}
    return open_store(run_extraction(Pipeline(data, files), section, progress=False).store)


def same_but_for_rounding(found, store) -> None:
    key = store.entries[0].key
    assert found.arrays.keys() == {spec.name for spec in store.header.arrays}
    for name, values in found.arrays.items():
        assert values.dtype == np.float32
        np.testing.assert_array_equal(values.astype(np.float16), store.read_volume(name, key))
    record = store.record(key)
    assert found.fingerprint == store.header.fingerprint
    assert found.geometry == record.geometry
    assert found.record.slices == record.slices
    assert found.record.foreground == record.foreground
    assert found.record.intensity_quantiles == record.intensity_quantiles
    np.testing.assert_array_equal(found.height_mm, record.slices.height_mm)


@pytest.mark.parametrize("given", ["path", "text", "image", "loaded", "array"])
def test_it_is_what_extract_stores(files, given):
    path, (values, _) = files / "head_T1w.nii.gz", made_up()
    volume = {
        "path": path,
        "text": str(path),
        "image": nib.Nifti1Image(values, AFFINE),
        "loaded": nib.load(path),
        "array": values,
    }[given]
    store = stored(files, "participant_id,path\na,head_T1w.nii.gz\n")
    before = sorted(files.rglob("*"))
    found = embed(volume, affine=AFFINE if given == "array" else None, tokens=TOKENS, **HOW)
    same_but_for_rounding(found, store)
    assert sorted(files.rglob("*")) == before
    np.testing.assert_array_equal(values, made_up()[0])


@pytest.mark.parametrize("given", ["path", "image", "array"])
def test_a_foreground_and_a_slice_rule_are_obeyed(files, given):
    values, mask = made_up()
    rule = {"kind": "uniform", "n": 5}
    store = stored(files, "participant_id,path,foreground_path\na,head_T1w.nii.gz,mask.nii.gz\n", slices=rule)
    volume, foreground = {
        "path": (files / "head_T1w.nii.gz", files / "mask.nii.gz"),
        "image": (nib.load(files / "head_T1w.nii.gz"), nib.load(files / "mask.nii.gz")),
        "array": (values, mask),
    }[given]
    affine = AFFINE if given == "array" else None
    found = embed(volume, affine=affine, foreground=foreground, slices=rule, tokens=TOKENS, **HOW)
    same_but_for_rounding(found, store)
    assert found.record.foreground.kind == "mask"
    assert found["cls"].shape == (5, 128)


def test_it_says_what_it_holds(files):
    found = embed(files / "head_T1w.nii.gz", **HOW)
    count = len(found.height_mm)
    assert f"cls ({count}, 128), patch_mean ({count}, 128)" in repr(found)
    assert "head_T1w" in repr(found)
    assert found.record.entities.contrast == "T1w"
    assert found._repr_png_().startswith(b"\x89PNG")


def test_mistakes_get_a_sentence(files):
    values, mask = made_up()
    with pytest.raises(ConfigError, match="an array needs `affine`"):
        embed(values, **HOW)
    with pytest.raises(ConfigError, match="nothing else takes it"):
        embed(files / "head_T1w.nii.gz", affine=AFFINE, **HOW)
    with pytest.raises(ConfigError, match="did you mean 'canvas'"):
        embed(values, affine=AFFINE, canvass=56)
    with pytest.raises(VolumeError, match="shape"):
        embed(values, affine=AFFINE, foreground=mask[:-1], **HOW)
    with pytest.raises(VolumeError, match="there is no file"):
        embed(files / "gone.nii", **HOW)
    with pytest.raises(VolumeError, match="4D"):
        embed(np.zeros((4, 4, 4, 3), np.float32), affine=AFFINE, **HOW)
