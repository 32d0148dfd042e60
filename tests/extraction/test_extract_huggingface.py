"""A cohort through networks of `transformers`: the same engine, store, checks and stage two as with ours."""

import json
import shutil

import nibabel as nib
import numpy as np
import pytest
import yaml
from saved_checkpoints import saved

import slicecache
from aggregate.bags.bags import read_bags
from cache_schema.common.errors import ConfigError
from cache_schema.store.reader import open_store

PROCESSOR = {
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
    "resample": 2,
    "rescale_factor": 1 / 255,
    "size": {"height": 64, "width": 64},
}
HALF = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}


@pytest.fixture
def cohort(tmp_path):
    """Two small volumes, and a checkpoint whose processor wants other pixels than ImageNet's."""
    for index, shape in enumerate([(21, 27, 13), (19, 31, 9)]):
        anat = tmp_path / "bids" / f"sub-{index}" / "anat"
        anat.mkdir(parents=True)
        grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij"))
        values = ((grid**2).sum(axis=0) < 0.6) * np.random.default_rng(index).uniform(50, 200, shape)
        image = nib.Nifti1Image(values.astype(np.float32), np.diag([5, 5, 5, 1]))
        nib.save(image, anat / f"sub-{index}_T1w.nii.gz")
    shutil.copytree(saved("siglip"), tmp_path / "weights")
    (tmp_path / "weights" / "preprocessor_config.json").write_text(json.dumps(PROCESSOR))
    return tmp_path


def pipeline(folder, **section):
    extract = {
        "input": {"bids": "bids", "suffix": "T1w"},
        "canvas": 64,
        "backbone": {"kind": "huggingface", "path": "weights"},
        "normalise": HALF,
        "dtype": "float32",
        "workers": 0,
        **section,
    }
    file = folder / "pipeline.yaml"
    extract = {key: value for key, value in extract.items() if value is not None}
    written = {"run": {"folder": "run"}, "cache": {"store": "c.zarr"}, "extract": extract}
    file.write_text(yaml.safe_dump(written))
    return str(file)


def command(*given):
    return slicecache.guarded(slicecache.cli.main, list(given))


def test_a_network_without_cls_fills_a_store_without_cls(cohort, capsys):
    file = pipeline(cohort, tokens=["patch_mean", "pooled"])
    assert command("plan", file) == 0
    assert command("extract", file) == 0
    store = open_store(str(cohort / "c.zarr"))
    assert [spec.name for spec in store.header.arrays] == ["patch_mean", "pooled"]
    assert store.header.fingerprint.backbone.architecture["model_type"] == "siglip_vision_model"
    assert store.header.fingerprint.backbone.position_table == "native"
    pooled, mean = (read_bags(store, store.entries, name) for name in ("pooled", "patch_mean"))
    assert pooled.x.shape == mean.x.shape
    assert pooled.x.std() > 0.01
    assert command("cache", "verify", str(cohort / "c.zarr"), "--full") == 0
    capsys.readouterr()
    moved = shutil.move(cohort / "weights", cohort / "moved")
    assert command("recompute", str(cohort / "c.zarr"), "--slices", "3", "--backbone", str(moved)) == 0
    with pytest.raises(ConfigError, match=r"no array 'cls'.*patch_mean.*pooled"):
        read_bags(store, store.entries, "cls")


def test_by_default_the_mean_of_patches_is_kept(cohort):
    assert command("extract", pipeline(cohort)) == 0
    assert [spec.name for spec in open_store(str(cohort / "c.zarr")).header.arrays] == ["patch_mean"]


@pytest.mark.parametrize(
    ("section", "says"),
    [
        ({"tokens": ["cls"]}, "this backbone has no cls; leave it out, e.g. tokens: [patch_mean, pooled]"),
        ({"layers": [1]}, "this backbone has no CLS token"),
        ({"normalise": None}, "extract.normalise: {mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5]}"),
        ({"canvas": 72}, "the canvas of 72 px must be a multiple of the backbone's patch of 16 px"),
        ({"backbone": {"kind": "huggingface"}}, "give repository (OWNER/NAME) or path"),
        ({"backbone": {"kind": "dinov3", "path": "weights"}}, "no DINOv3: say kind: huggingface"),
        ({"backbone": {"kind": "dinov2", "path": "weights"}}, "other networks are of kind: huggingface"),
    ],
)
def test_a_mistake_is_one_sentence_before_any_volume(cohort, capsys, section, says):
    assert command("extract", pipeline(cohort, **section)) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert says in line
    assert not (cohort / "c.zarr").exists()
