"""The BMAD protocol on a generated tree of the same layout, with a tiny untrained backbone."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from aggregate.anomaly.detectors.base import Detector, Reference, SliceBatch
from cache_schema.common.errors import SlicecacheError
from extract.backbones.untrained import UntrainedSpec

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def few_lesions_are_enough(monkeypatch):
    """The made-up cohort is too small for intervals that would be shown to anybody."""
    monkeypatch.setattr("aggregate.anomaly.measure.intervals.FEWEST", 1)


@pytest.fixture(scope="module")
def bmad():
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        import bmad
        import bmad_slices
        import bmad_table

        yield bmad
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))
        for name in ("bmad", "bmad_slices", "bmad_table"):
            sys.modules.pop(name, None)
        del bmad_slices, bmad_table


class Brightness(Detector):
    """The distance of a patch's intensity from the normals' mean: trivial, and right for bright lesions."""

    batch_slices = 5

    def start(self, reference: Reference) -> None:
        self.reference, self.total, self.seen = reference, 0.0, 0

    def observe(self, batch: SliceBatch, epoch: int) -> None:
        self.total += float(batch.intensity.sum())
        self.seen += len(batch)

    def score(self, batch: SliceBatch) -> torch.Tensor:
        rows, cols = self.reference.grid
        return (batch.intensity - self.total / (self.seen * rows * cols)).abs()

    def state(self) -> dict[str, torch.Tensor]:
        return {}

    def load_state(self, state) -> None:
        pass


def write_slice(path: Path, seed: int, lesion: tuple[int, int] | None, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(seed)
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    brain = ((rows / shape[0] - 0.5) ** 2 + (columns / shape[1] - 0.5) ** 2) < 0.16
    image = (brain * rng.uniform(70, 90, shape)).astype(np.uint8)
    label = np.zeros(shape, np.uint8)
    if lesion is not None:
        box = (slice(lesion[0], lesion[0] + 30), slice(lesion[1], lesion[1] + 26))
        image[box], label[box] = 240, 255
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)
    if lesion is not None:
        target = path.parents[1] / "label" / path.name
        target.parent.mkdir(exist_ok=True)
        Image.fromarray(label).save(target)


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("bmad")
    for n in range(11):
        write_slice(root / "train/good" / f"{n // 2:05}_{n}.png", n, None, (150, 132))
    for n in range(4):
        write_slice(root / "valid/good/img" / f"{100 + n:05}_7.png", 50 + n, None, (150, 132))
        write_slice(root / "test/good/img" / f"{200 + n:05}_7.png", 80 + n, None, (150, 132))
        write_slice(root / "test/Ungood/img" / f"{300 + n // 2:05}_{n}.png", 90 + n, (50, 60), (150, 132))
    return root


def test_the_protocol_runs_and_finds_what_is_there(bmad, tree, tmp_path):
    backbone = UntrainedSpec().build(112, torch.device("cpu"), torch.float32)
    detectors = [bmad.Named("brightness", lambda seed: Brightness(None, seed), 4.0)]
    rows = bmad.run(tree, backbone, 112, detectors, (0, 1), tmp_path, draws=30)
    assert [row["seed"] for row in rows] == [0, 1]
    row = rows[0]
    assert row["slice_auroc"][0] == 1.0
    for name in ("at_240_all", "native_all", "native_foreground"):
        found = row[name]["metrics"]
        assert found["pixel_auroc"] > 0.9, name
        assert found["prevalence"] < 0.2
        assert found["n_lesions"] == 4
        low, high = row[name]["intervals"]["pixel_ap"]
        assert 0.5 < low <= high <= 1
        assert found["pixel_fpr_fpr05"] < 0.3  # a patch is 30 px wide here, so lesions bleed into normals
    # At 240 px every slice is a square, whatever its own shape.
    share = 30 * 26 * 4 / (150 * 132 * 8)
    assert row["native_all"]["metrics"]["prevalence"] == pytest.approx(share)
    assert row["at_240_all"]["metrics"]["prevalence"] == pytest.approx(share, rel=0.05)
    text = bmad.table(rows)
    assert "| brightness |" in text
    assert "published, BraTS2021: dpmm, DINOv2-S | 91.16 | 29.18" in text
    json.dumps(bmad.finite({"rows": rows}), allow_nan=False)


def test_pixels_at_240_are_bilinear_then_gaussian(bmad):
    from scipy.ndimage import gaussian_filter

    from aggregate.anomaly.maps.placement import native_map

    scores = np.random.default_rng(0).random((1, 32, 32)).astype(np.float32)
    found = native_map(scores, bmad.one_slice((240, 240), (32, 32), 4.0))[..., 0].T
    up = torch.nn.functional.interpolate(
        torch.from_numpy(scores).double()[None], size=(240, 240), mode="bilinear", align_corners=False
    )
    expected = gaussian_filter(up[0, 0].numpy(), 4.0, mode="reflect", truncate=4.0)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_broken_tree_is_a_sentence(bmad, tree, tmp_path):
    with pytest.raises(SlicecacheError, match="holds no"):
        bmad.read_tree(tmp_path)
    assert bmad.on_two_sides(bmad.read_tree(tree)) == []
    labels = tree / "test/Ungood/label"
    moved = labels.rename(tmp_path / "label")
    with pytest.raises(SlicecacheError, match="without a label"):
        bmad.read_tree(tree)
    moved.rename(labels)
