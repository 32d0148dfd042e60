"""Presets of published systems, and canvases that are not square, the whole way: store, recompute, maps."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from saved_checkpoints import saved

import slicecache
from aggregate.anomaly.arithmetic.causal_net import CausalNet
from aggregate.anomaly.study.bundle import load_detectors
from aggregate.cohort.acquisition import acquisition_row
from aggregate.detect import detect_pipeline
from cache_schema.common.errors import ConfigError
from cache_schema.common.pipeline_file import load_pipeline
from cache_schema.store.reader import StoreReader, open_store
from cache_schema.verify.verify import verify_store
from extract.cli import read_extract_section
from extract.extraction import Outcome, run_extraction
from extract.recompute.recompute import recompute

pytestmark = pytest.mark.numerics

SHAPE = (31, 45, 19)
"""In RAS; stored as PSR, so that no axis is where it was."""
SPACING = (5.0, 4.0, 6.0)
CUBE = (slice(5, 12), slice(28, 37), slice(9, 14))
"""Left of the middle, in front and a little above."""
PATIENTS = (6, 7)
LENGTHS = (19, 18, 19, 17, 19, 18, 19, 19)
"""All fewer than 32."""

PRESETS = {
    "dpmm": {"preset": "dpmm", "canvas": {"kind": "shorter", "resize": 56, "pixels": [70, 56]}},
    "cut": {
        "preset": "dpmm",
        "canvas": {"kind": "shorter", "resize": 56, "pixels": [84, 56], "unlike": "cut_or_pad"},
    },
    "ar": {"preset": "ar", "canvas": [56, 84]},
    "mst": {"preset": "mst", "canvas": [56, 42], "slices": {"kind": "crop_or_pad", "n": 32}},
    "coronal": {
        "preset": "mst",
        "plane": "coronal",
        "canvas": [28, 42],
        "slices": {"kind": "crop_or_pad", "n": 48},
    },
    "field": {"preset": "letterbox", "canvas": [84, 56], "field_mm": 200},
    "field, zscore": {
        "canvas": [84, 56],
        "field_mm": 260,
        "intensity": {"kind": "zscore"},
        "normalise": "none",
    },
    "torch": {
        "canvas": {"kind": "stretch", "pixels": [84, 56], "filter": "torch-bicubic-antialias"},
        "slices": {"kind": "crop_or_pad", "n": 21},
    },
}
GRIDS = {"dpmm": (5, 4), "cut": (6, 4), "ar": (4, 6), "mst": (4, 3), "coronal": (2, 3)}


def save_head(path: Path, index: int) -> None:
    """A ball of noise; a patient's has a bright cube."""
    shape = (*SHAPE[:2], LENGTHS[index])
    rng = np.random.default_rng(index)
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij"))
    values = ((grid**2).sum(axis=0) < 0.8) * rng.uniform(90, 110, shape)
    if index in PATIENTS:
        values[CUBE] = 220
    affine = np.array([[0, 0, SPACING[0], 0], [-SPACING[1], 0, 0, 0], [0, SPACING[2], 0, 0], [0, 0, 0, 1.0]])
    nib.save(nib.Nifti1Image(values.transpose(1, 2, 0)[::-1].astype(np.float32), affine), path)


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    rows = ["participant_id\tpath\tdiagnosis"]
    for index in range(len(LENGTHS)):
        save_head(folder / f"{index}.nii", index)
        rows.append(f"p{index}\t{index}.nii\t{'patient' if index in PATIENTS else 'control'}")
    (folder / "volumes.tsv").write_text("\n".join(rows) + "\n")
    return folder


def write_pipeline(images: Path, folder: Path, steps: dict[str, object]) -> Path:
    section = {
        "input": {"manifest": str(images / "volumes.tsv")},
        "backbone": {"kind": "untrained", "size": "tiny"},
        "tokens": ["cls", "patch_mean", "patches", "cls_attention"],
        "dtype": "float32",
        "workers": 0,
        **steps,
    }
    detect = {
        "reference": {"column": "diagnosis", "value": "control"},
        "detectors": [{"kind": "memory_bank", "size": 4000}, {"kind": "spatial_ar", "epochs": 1}],
        "maps": "all",
    }
    data = {
        "run": {"folder": "run"},
        "cache": {"store": "run/cache.zarr"},
        "extract": section,
        "aggregate": {"cohort": str(images / "volumes.tsv"), "detect": detect},
    }
    (folder / "pipeline.yaml").write_text(yaml.safe_dump(data))
    return folder / "pipeline.yaml"


def extracted(images: Path, folder: Path, steps: dict[str, object]) -> tuple[Outcome, StoreReader]:
    loaded = load_pipeline(write_pipeline(images, folder, steps))
    outcome = run_extraction(loaded, read_extract_section(loaded), progress=False)
    return outcome, open_store(outcome.store)


QUICK = ("dpmm", "mst")


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in PRESETS]
)
def test_a_store_comes_back_and_its_maps_lie_where_the_volume_does(images, tmp_path, name):
    outcome, store = extracted(images, tmp_path, PRESETS[name])
    assert (outcome.embedded, outcome.failed) == (len(LENGTHS), 0)
    rows, cols = GRIDS.get(name, (6, 4))
    shapes = {spec.name: spec.item_shape for spec in store.header.arrays}
    assert shapes["patches"][:2] == shapes["foreground"] == shapes["cls_attention"][1:] == (rows, cols)
    assert store.header.fingerprint.backbone.architecture["canvas"] == [14 * rows, 14 * cols]
    assert verify_store(outcome.store).ok
    checked = recompute(outcome.store, 9)
    assert checked.problems == ()
    assert checked.identical

    detect_pipeline(load_pipeline(tmp_path / "pipeline.yaml"))
    found = sorted((tmp_path / "run" / "detect" / "maps").rglob("sub-p7*memorybank*.nii.gz"))
    assert len(found) == 1
    image = nib.load(found[0])
    source = nib.load(images / "7.nii")
    assert image.shape == source.shape
    np.testing.assert_array_equal(image.affine, source.affine)
    ras = nib.as_closest_canonical(image).get_fdata()
    weight = np.where(ras >= np.quantile(ras[ras > 0], 0.97), ras, 0)
    centre = [
        np.average(np.arange(n), weights=weight.sum(axis=axes))
        for n, axes in zip(ras.shape, [(1, 2), (0, 2), (0, 1)], strict=True)
    ]
    middle = [(part.start + part.stop - 1) / 2 for part in CUBE]
    apart = np.abs(np.subtract(centre, middle)) * SPACING
    down, across = 14 * np.array(store.record(store.entries[0].key).geometry.pixel_mm)
    most = [across, 12, down] if name == "coronal" else [across, down, 12]
    assert (apart <= most).all(), (apart, most)


def test_padded_slices_are_slices_and_no_part_of_the_volume(images, tmp_path):
    """The published model attends to them like to any other; ours stores them under indices of their own."""
    _, store = extracted(images, tmp_path, PRESETS["mst"])
    entry = next(entry for entry in store.entries if entry.key.participant_id == "p3")
    record = store.record(entry.key)
    missing = 32 - LENGTHS[3]
    first, last = -(-missing // 2), missing // 2
    assert record.slices.index == tuple(range(-first, LENGTHS[3] + last))
    assert record.slices.n_volume == LENGTHS[3]
    np.testing.assert_allclose(np.diff(record.slices.height_mm), -SPACING[2])
    acquired = acquisition_row([record])
    assert acquired["slices"] == len(record.slices.scanned_mm) == LENGTHS[3]
    assert acquired["coverage_mm"] == pytest.approx((LENGTHS[3] - 1) * SPACING[2])
    cls, share = (store.read_volume(name, entry.key) for name in ("cls", "foreground"))
    padded = np.r_[:first, 32 - last : 32]
    assert (cls[padded] == cls[0]).all()
    # The lowest and the highest real slice are air alone, too.
    assert not (cls[first + 1 : 31 - last] == cls[0]).all(axis=1).any()
    assert not share[padded].any()
    assert record.empty_patch_slices >= len(padded)


def test_slices_of_another_ratio_are_refused_with_the_canvas_that_they_need(images, tmp_path):
    outcome, _ = extracted(images, tmp_path, {"preset": "dpmm", "canvas": 56})
    assert (outcome.embedded, outcome.failed) == (0, len(LENGTHS))
    said = outcome.failures[0].reason
    assert "come out at 70 x 56 pixels and the canvas is 56 x 56" in said
    assert "extract.canvas.pixels to [70, 56]" in said
    assert "cut_or_pad" in said


def test_the_plan_tells_before(images, tmp_path, capsys):
    file = write_pipeline(images, tmp_path, {"preset": "dpmm", "canvas": 56})
    assert slicecache.guarded(slicecache.cli.main, ["plan", str(file), "--json"]) == 0
    volumes = json.loads(capsys.readouterr().out)["volumes"]
    said = "this will fail: its slices of 45 x 31 come out at 70 x 56"
    assert all(said in volume["warnings"][-1] for volume in volumes)
    file = write_pipeline(images, tmp_path, PRESETS["dpmm"])
    assert slicecache.guarded(slicecache.cli.main, ["plan", str(file), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert not any(volume["warnings"] for volume in found["volumes"])


def test_the_canvas_must_be_whole_patches_on_both_sides(images, tmp_path):
    with pytest.raises(ConfigError, match="80 px must be a multiple of the backbone's patch of 14"):
        extracted(images, tmp_path, {"preset": "ar", "canvas": [56, 80]})


@pytest.mark.slow
def test_several_presets_of_one_decoding_are_what_each_is_alone(images, tmp_path):
    """Steps that share a decoded volume leave it as it is."""
    names = ("mst", "dpmm", "ar", "torch")
    alone = {}
    for name in names:
        (tmp_path / name).mkdir()
        alone[name] = extracted(images, tmp_path / name, PRESETS[name])[1].content_digest()
    file = write_pipeline(images, tmp_path, {"stores": {name: PRESETS[name] for name in names}})
    loaded = load_pipeline(file)
    run_extraction(loaded, read_extract_section(loaded), progress=False)
    places = {name: Path(place) for name, place in loaded.stores().items() if name in names}
    assert {name: open_store(place).content_digest() for name, place in places.items()} == alone


@pytest.mark.slow
def test_autoregression_reads_dinov3_tokens_of_its_preset(images, tmp_path):
    """At the published size, by an untrained checkpoint that `transformers` saved."""
    steps = {
        "preset": "ar",
        "slices": {"kind": "uniform", "n": 1},
        "backbone": {"kind": "dinov3", "path": str(saved("dinov3"))},
        "tokens": ["cls", "patches"],
    }
    outcome, store = extracted(images, tmp_path, steps)
    assert (outcome.embedded, outcome.failed) == (len(LENGTHS), 0)
    item = {spec.name: spec.item_shape for spec in store.header.arrays}["patches"]
    assert item == (28, 28, 48)
    spec = {"kind": "spatial_ar", "epochs": 1, "dilation": 4, "width": 16, "two_sided": True, "reduce": "min"}
    set_ = f"aggregate.detect.detectors=[{json.dumps(spec)}]"
    detect_pipeline(load_pipeline(tmp_path / "pipeline.yaml", [set_]))
    (fitted,) = load_detectors(tmp_path / "run" / "detect" / "bundle").fitted
    assert fitted.detector.spec.noise_per == "channel"
    entry = next(entry for entry in store.entries if entry.key.participant_id == "p7")
    tokens = torch.from_numpy(store.read_volume("patches", entry.key)).float()
    assert tokens.shape == (1, 28, 28, 48)
    assert float(tokens.norm(dim=3).std()) > 0  # as stored, not at length 1
    forward, backward = fitted.detector._best
    net = CausalNet(48, (4,) * 5, width=16)
    turned = tokens.flip(1, 2)
    expected = torch.minimum(
        (net.predict(tokens, forward) - tokens).square().mean(3),
        (net.predict(turned, backward) - turned).square().mean(3).flip(1, 2),
    )
    scores = pd.read_csv(tmp_path / "run" / "detect" / "scores.csv", dtype={"session_id": str})
    own = scores[(scores["participant_id"] == "p7") & (scores["detector"] == "spatial_ar")]
    inside = store.read_volume("foreground", entry.key) > 0
    highest = np.sort(expected.numpy()[inside])[::-1]
    assert own["score"].item() == pytest.approx(highest[: max(1, len(highest) // 100)].mean(), rel=1e-4)
