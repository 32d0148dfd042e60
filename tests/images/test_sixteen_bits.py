"""Voxels that fit 16 bits travel in them, and are scaled on the device to the same bits."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from cache_schema.format.identity import VolumeKey
from cache_schema.format.record import Entities
from extract.engines.on_device import canvas_images
from extract.slices import images
from extract.slices.images import in_16_bits
from extract.slices.prepare import prepare_volume
from extract.slices.preprocessing import StepOverrides
from extract.slices.presets import preprocessing_of
from extract.sources.candidate import Candidate

pytestmark = pytest.mark.numerics

CPU = torch.device("cpu")


@pytest.fixture
def scan(tmp_path) -> Candidate:
    """A ball of whole numbers, some below 0."""
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in (37, 41, 23)), indexing="ij"))
    noise = np.random.default_rng(0).integers(-200, 3000, grid.shape[1:])
    path = Path(tmp_path) / "a.nii.gz"
    values = np.where((grid**2).sum(axis=0) < 0.6, noise, 0).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(values, np.diag([5.0, 4.0, 6.0, 1.0])), path)
    return Candidate(VolumeKey("a", "", "T1w"), path, path.name, Entities())


@pytest.mark.parametrize(
    "intensity",
    [
        {"kind": "percentile"},
        {"kind": "zscore", "over": "foreground"},
        {"kind": "window", "low": -100.0, "high": 1234.5, "to": [-1.0, 3.0]},
    ],
)
@pytest.mark.parametrize("slices", [{"kind": "all"}, {"kind": "crop_or_pad", "n": 31}])
def test_the_canvas_is_equal_bit_for_bit(scan, monkeypatch, intensity, slices):
    steps = preprocessing_of(
        "letterbox", StepOverrides.model_validate({"intensity": intensity, "slices": slices, "canvas": 56})
    )
    short = prepare_volume(scan, steps)
    monkeypatch.setattr(images, "in_16_bits", lambda values, fill: None)
    long = prepare_volume(scan, steps)
    assert (short.images.dtype, long.images.dtype) == (np.int16, np.float32)
    assert short.images.nbytes * 2 == long.images.nbytes
    assert short.draft.model_copy(update={"seconds": {}}) == long.draft.model_copy(update={"seconds": {}})
    bits = [canvas_images(each, CPU).view(torch.int32) for each in (short, long)]
    assert torch.equal(*bits)
    assert len(bits[0].unique()) > 1000


@pytest.mark.parametrize(
    ("value", "fits"),
    [(7.0, True), (-32768.0, True), (32768.0, False), (0.5, False), (-0.0, False), (1e300, False)],
)
def test_only_what_comes_back_travels_so(value, fits):
    values = np.zeros((2, 3, 4))
    values[1, 1, 1] = value
    found = in_16_bits(values, 0.0)
    assert (found is not None) == fits
    if found is not None:
        assert np.array_equal(found, values)
    assert in_16_bits(np.zeros((2, 3, 4)), 0.25) is None
