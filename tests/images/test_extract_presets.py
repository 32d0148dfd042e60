"""The DinoAtten3D presets against their published steps, written out; and what ours does otherwise."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from cache_schema.format.identity import VolumeKey
from cache_schema.format.record import Entities
from extract.slices.intensity import slice_minmax
from extract.slices.prepare import prepare_volume
from extract.slices.presets import PRESETS
from extract.sources.candidate import Candidate

pytestmark = pytest.mark.numerics


def candidate(path: Path) -> Candidate:
    return Candidate(VolumeKey("p", "", "v"), path, path.name, Entities())


def released_stack(path: Path) -> np.ndarray:
    """The released loader: last stored axis, 50 central slices with Python's wrap, 8 bits per slice."""
    volume = nibabel.load(path).get_fdata()  # float64
    middle = volume.shape[2] // 2
    chosen = volume[:, :, middle - 25 : middle + 25]
    slices = []
    for index in range(chosen.shape[2]):
        image = chosen[:, :, index]
        scaled = 255 * (image - image.min()) / (image.max() - image.min() + 1e-5)
        slices.append(scaled.astype(np.uint8))
    return np.stack(slices)


def released_canvas(grey: np.ndarray) -> np.ndarray:
    """Its transform: shorter side to 256 by Pillow, centre crop of 224."""
    out = []
    for image in grey:
        height, width = image.shape
        size = (256, int(256 * height / width)) if width <= height else (int(256 * width / height), 256)
        resized = np.asarray(Image.fromarray(image).convert("RGB").resize(size, Image.Resampling.BILINEAR))
        top, left = round((resized.shape[0] - 224) / 2), round((resized.shape[1] - 224) / 2)
        out.append(resized[top : top + 224, left : left + 224, 0])
    return np.stack(out)


def head(shape, dtype=np.int16, slope=None) -> nibabel.Nifti1Image:
    """A noisy head in an odd axis order."""
    grids = np.meshgrid(*[np.linspace(-1.2, 1.2, n) for n in shape], indexing="ij")
    inside = sum(g**2 for g in grids) <= 1
    noise = np.random.default_rng(7)
    data = np.where(inside, noise.uniform(300, 900, shape), noise.uniform(0, 30, shape)).astype(dtype)
    affine = np.array([[0, 0, 2.0, -60], [-2.1, 0, 0, 70], [0, 1.9, 0, -50], [0, 0, 0, 1]])
    image = nibabel.Nifti1Image(data, affine)
    if slope is not None:
        image.header.set_slope_inter(*slope)
    return image


@pytest.mark.parametrize("shape", [(61, 83, 67), (83, 61, 50), (70, 71, 40), (50, 67, 73)])
@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_the_released_preset_is_exact_before_and_after_the_resize(tmp_path, shape, dtype):
    path = tmp_path / "x.nii.gz"
    nibabel.save(head(shape, dtype), path)
    grey = released_stack(path)
    prepared = prepare_volume(candidate(path), PRESETS["dinoatten3d_released"])
    kept = list(prepared.draft.slices.index)
    assert len(kept) == len(grey) == (5 if shape[2] == 40 else 50)
    stored = np.moveaxis(nibabel.load(path).get_fdata(), 2, 0)[kept]
    np.testing.assert_array_equal(slice_minmax(stored), grey)
    np.testing.assert_array_equal(prepared.images, released_canvas(grey))
    assert prepared.row_weights is None


def test_scaled_integers_truncate_as_in_float64(tmp_path):
    """A slope makes values that float32 cannot hold: reading in it would change single grey levels."""
    image = head((61, 83, 67))
    stored = np.asarray(image.dataobj)
    path = tmp_path / "x.nii"
    nibabel.save(image, path)
    raw = bytearray(path.read_bytes())
    raw[112:120] = np.array([0.0731, -3.7], dtype="<f4").tobytes()  # scl_slope, scl_inter
    path.write_bytes(raw)
    assert nibabel.load(path).get_fdata()[0, 0, 0] != stored[0, 0, 0]
    prepared = prepare_volume(candidate(path), PRESETS["dinoatten3d_released"])
    np.testing.assert_array_equal(prepared.images, released_canvas(released_stack(path)))


def test_the_house_form_turns_the_head_and_clips_to_what_exists(tmp_path):
    path = tmp_path / "x.nii"
    nibabel.save(head((61, 40, 67)), path)  # the second axis is superior: 40 slices
    prepared = prepare_volume(candidate(path), PRESETS["dinoatten3d"])
    assert prepared.draft.slices.index == tuple(range(40))
    assert prepared.images.shape == (40, 224, 224)
    stored = np.asarray(nibabel.load(path).dataobj).astype(np.float64)
    # +i is posterior, +k is right: rows are i as stored, columns are k as stored.
    grey = slice_minmax(np.moveaxis(stored, 1, 0))
    np.testing.assert_array_equal(prepared.images, released_canvas(grey))


def test_the_mask_lies_on_the_same_canvas(tmp_path):
    path = tmp_path / "x.nii"
    nibabel.save(head((61, 53, 67)), path)
    prepared = prepare_volume(candidate(path), PRESETS["dinoatten3d"])
    assert prepared.mask.shape == prepared.images.shape
    assert set(np.unique(prepared.mask)) == {0, 1}
    middle = len(prepared.images) // 2
    bright = prepared.images[middle] > 60
    assert (bright == (prepared.mask[middle] == 1)).mean() > 0.97


def test_released_on_a_real_head_is_exact(shared_data):
    path = sorted((shared_data / "ixi-2mm").glob("*.nii.gz"))[0]
    prepared = prepare_volume(candidate(path), PRESETS["dinoatten3d_released"])
    np.testing.assert_array_equal(prepared.images, released_canvas(released_stack(path)))
    assert any("not the superior one" in note for note in prepared.draft.warnings)
