"""Kernels against Pillow and torch themselves; what lies outside; mean and deviation from the backbone."""

import nibabel
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn
from torch.nn import functional

from cache_schema.common.errors import ConfigError
from cache_schema.format.identity import VolumeKey
from cache_schema.format.record import Entities
from extract.embedding import embed
from extract.engines.on_device import canvas_images, foreground_share, resized
from extract.slices.canvas import FieldCanvas, ShorterCanvas, StretchCanvas
from extract.slices.intensity import Window, Zscore
from extract.slices.prepare import PreparedVolume, prepare_volume
from extract.slices.preprocessing import StepOverrides
from extract.slices.presets import preprocessing_of
from extract.slices.resize import resize_of, resize_with_pillow
from extract.sources.candidate import Candidate

pytestmark = pytest.mark.numerics

CPU = torch.device("cpu")
SIDES = st.tuples(st.integers(1, 90), st.integers(1, 90))


def images(rows: int, columns: int, slices: int = 2) -> np.ndarray:
    return np.random.default_rng(rows * columns).uniform(-3, 5, (slices, rows, columns)).astype(np.float32)


@settings(max_examples=40, deadline=None)
@given(
    SIDES,
    st.tuples(st.integers(14, 70), st.integers(14, 70)),
    st.sampled_from(["bilinear", "bicubic"]),
    st.booleans(),
)
def test_torch_kernels_are_torchs(source, pixels, mode, antialias):
    canvas = StretchCanvas(pixels=pixels, filter=f"torch-{mode}{'-antialias' * antialias}")
    grey = torch.from_numpy(images(*source))
    found = resized(grey, resize_of(canvas, *source), 0.0, CPU)
    whole = functional.interpolate(grey[None], size=pixels, mode=mode, antialias=antialias)[0]
    assert torch.equal(found, whole)


@settings(max_examples=40, deadline=None)
@given(SIDES, st.tuples(st.integers(14, 70), st.integers(14, 70)), st.sampled_from(["bilinear", "bicubic"]))
def test_pillow_kernels_are_pillows_in_float_too(source, pixels, mode):
    canvas = StretchCanvas(pixels=pixels, filter=f"pillow-{mode}")
    grey = images(*source)
    found = resize_with_pillow(grey, resize_of(canvas, *source), 0.0)
    kernel = getattr(Image.Resampling, mode.upper())
    expected = [np.asarray(Image.fromarray(image, "F").resize(pixels[::-1], kernel)) for image in grey]
    np.testing.assert_array_equal(found, np.stack(expected))


@pytest.mark.parametrize("filter_", ["pillow-bicubic", "torch-bicubic-antialias"])
@pytest.mark.parametrize("source", [(30, 50), (50, 30), (21, 21), (16, 90)])
def test_the_shorter_canvas_is_cut_and_padded_at_the_lower_right(filter_, source):
    canvas = ShorterCanvas(resize=28, pixels=(42, 56), filter=filter_, unlike="cut_or_pad")
    resize = resize_of(canvas, *source)
    height, width = (28 if side == min(source) else int(28 * side / min(source)) for side in source)
    assert resize.size == (height, width)
    grey = images(*source)
    if filter_ == "pillow-bicubic":
        kernel = Image.Resampling.BICUBIC
        whole = np.stack(
            [np.asarray(Image.fromarray(image).resize((width, height), kernel)) for image in grey]
        )
        found = resize_with_pillow(grey, resize, -7.0)
    else:
        asked = {"size": (height, width), "mode": "bicubic", "antialias": True}
        whole = functional.interpolate(torch.from_numpy(grey)[None], **asked)[0].numpy()
        found = resized(torch.from_numpy(grey), resize, -7.0, CPU).numpy()
    expected = np.full((len(grey), 42, 56), -7.0, dtype=np.float32)
    shown = whole[:, :42, :56]
    expected[:, : shown.shape[1], : shown.shape[2]] = shown
    np.testing.assert_array_equal(found, expected)


def prepared_by(folder, intensity, canvas, spacing=(5.0, 4.0, 6.0)) -> PreparedVolume:
    """A ball between -1000 and 200, whose air is -1000, in 31 x 45 x 9 voxels."""
    shape = (31, 45, 9)
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij"))
    noise = np.random.default_rng(3).uniform(-50, 200, shape)
    values = np.where((grid**2).sum(axis=0) < 0.8, noise, -1000).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(values, np.diag([*spacing, 1])), folder / "x.nii")
    steps = StepOverrides(intensity=intensity, canvas=canvas, slices={"kind": "all"})
    candidate = Candidate(VolumeKey("p", "", "v"), folder / "x.nii", "x.nii", Entities())
    return prepare_volume(candidate, preprocessing_of("letterbox", steps))


SCALES = {
    "zscore": Zscore(over="volume"),
    "foreground": Zscore(over="foreground"),
    "window": Window(low=-1000, high=1000, to=(-1, 1)),
}
CANVASES = {
    "field": FieldCanvas(field_mm=300, pixels=(56, 42)),
    "shorter": ShorterCanvas(resize=28, pixels=(28, 56), unlike="cut_or_pad"),
    "torch": ShorterCanvas(resize=28, pixels=(28, 56), unlike="cut_or_pad", filter="torch-bilinear"),
}


@pytest.mark.parametrize("canvas", CANVASES)
@pytest.mark.parametrize("scale", SCALES)
def test_outside_the_volume_lies_its_darkest_grey(tmp_path, scale, canvas):
    """0 would be the mean's grey after a z-score, and the middle of a CT window."""
    prepared = prepared_by(tmp_path, SCALES[scale], CANVASES[canvas])
    grey = canvas_images(prepared, CPU)
    assert grey.shape == (9, *CANVASES[canvas].pixels)
    air = prepared.background
    if scale == "window":
        assert air == -1.0
    assert prepared.span[0] == pytest.approx(air)
    # The corners are air wherever the canvas lies: of the volume, or beyond it.
    corners = grey[:, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert torch.allclose(corners, torch.tensor(air), atol=1e-5)
    assert float(grey[4].max()) > air + 0.5


def test_a_field_that_is_not_square_keeps_its_millimetres(tmp_path):
    square, narrow = (
        prepared_by(tmp_path, SCALES["window"], FieldCanvas(field_mm=224, pixels=pixels))
        for pixels in (224, (224, 168))
    )
    assert narrow.draft.geometry.pixel_mm == pytest.approx((1.0, 1.0))
    assert narrow.draft.geometry.canvas == (224, 168)
    whole, part = (canvas_images(each, CPU) for each in (square, narrow))
    torch.testing.assert_close(part, whole[:, :, 28:-28], atol=1e-6, rtol=0)


@pytest.mark.parametrize("canvas", ["shorter", "torch"])
def test_shares_of_patches_are_those_of_the_mask(tmp_path, canvas):
    prepared = prepared_by(tmp_path, SCALES["window"], CANVASES[canvas])
    share = foreground_share(prepared, (2, 4), CPU)
    assert share.shape == (9, 2, 4)
    assert 0 <= float(share.min()) <= float(share.max()) <= 1 + 1e-6
    # Where the image is brighter than half way between air and tissue there is foreground.
    bright = functional.avg_pool2d((canvas_images(prepared, CPU) > -0.5).float()[:, None], 14)[:, 0]
    torch.testing.assert_close(share, bright, atol=0.12, rtol=0)


class Said(nn.Module):
    """A backbone that says what its pixels must be normalised with."""

    dim, patch_size = 2, 14
    mean, std = [0.5, 0.4, 0.3], [0.2, 0.25, 0.5]

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weights", torch.ones(1))

    def forward(self, pixels):
        means = functional.avg_pool2d(pixels, 14)
        return {"patches": means[:, :2].permute(0, 2, 3, 1)}


def test_normalise_model_is_what_the_backbone_says(tmp_path):
    prepared_by(tmp_path, None, None)
    path, asked = tmp_path / "x.nii", {"canvas": 56, "tokens": ["patches"], "dtype": "float32"}
    found = embed(path, backbone=Said, normalise="model", **asked)
    said = {"step": "normalise", "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.25, 0.5]}
    assert found.fingerprint.model_dump(mode="json")["preprocessing"][-1] == said
    spelt = embed(path, backbone=Said, normalise={"mean": Said.mean, "std": Said.std}, **asked)
    assert spelt.fingerprint == found.fingerprint
    np.testing.assert_array_equal(spelt["patches"], found["patches"])
    plain = embed(path, backbone=Said, normalise="none", **asked)
    expected = (plain["patches"] - np.float32([0.5, 0.4])) / np.float32([0.2, 0.25])
    np.testing.assert_allclose(found["patches"], expected, atol=1e-5)
    with pytest.raises(ConfigError, match=r"extract\.normalise: \{mean"):
        embed(path, backbone=Said, **asked)


def test_normalise_model_needs_a_backbone_that_says_it(tmp_path):
    prepared_by(tmp_path, None, None)
    with pytest.raises(ConfigError, match="needs a backbone that says how its pixels are normalised"):
        embed(tmp_path / "x.nii", backbone={"kind": "untrained"}, normalise="model", canvas=56)
