"""The presets of published systems against their steps written out, on odd shapes and on real volumes."""

from pathlib import Path

import nibabel
import numpy as np
import published_inputs as published
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cache_schema.common.errors import VolumeError
from cache_schema.format.identity import VolumeKey
from cache_schema.format.record import Entities
from extract.engines.on_device import canvas_images
from extract.slices.intensity import Window, Zscore
from extract.slices.prepare import PreparedVolume, prepare_volume
from extract.slices.preprocessing import StepOverrides
from extract.slices.presets import PRESETS, PresetName, preprocessing_of
from extract.sources.candidate import Candidate

pytestmark = pytest.mark.numerics

CPU = torch.device("cpu")
SOME = {"kind": "uniform", "n": 7}
SHAPES = {"unequal": (61, 83, 47), "tiny": (9, 15, 7), "one slice": (200, 231, 1), "thin": (230, 191, 12)}
REAL = {
    "native T1w, LAS": "ds002748-native/sub-01/anat/sub-01_T1w.nii.gz",
    "T1w with skull, PSR": "ixi-2mm/IXI012-HH-1211-T1_ds.nii.gz",
    "T2w, 26 thick slices": "single/torchio_fernando_t2.nii.gz",
}


def save_head(path: Path, shape: tuple[int, int, int], seed: int = 0) -> Path:
    """A noisy ball in air, stored PSR-like: third axis right, first axis backwards, second upwards."""
    across, front, _ = shape
    grids = np.meshgrid(*[np.linspace(-1, 1, n) if n > 1 else np.zeros(1) for n in shape], indexing="ij")
    rng = np.random.default_rng(seed)
    inside = sum(g**2 for g in grids) < 0.7
    data = np.where(inside, rng.uniform(300, 900, shape), rng.uniform(-5, 30, shape)).astype(np.float32)
    stored = data.transpose(1, 2, 0)[::-1]
    size = 240 / max(across, front)
    affine = np.array([[0, 0, size, 0], [-size, 0, 0, 0], [0, 5.0, 0, 0], [0, 0, 0, 1]], dtype=float)
    nibabel.save(nibabel.Nifti1Image(stored, affine), path)
    return path


def prepared_by(path: Path, preset: PresetName, **steps) -> PreparedVolume:
    candidate = Candidate(VolumeKey("p", "", "v"), path, path.name, Entities())
    return prepare_volume(candidate, preprocessing_of(preset, StepOverrides(**steps)))


def kept_of(prepared: PreparedVolume, stack: np.ndarray) -> np.ndarray:
    """The reference's 8-bit slices of what was kept; the window is the record's own quantiles."""
    levels = prepared.draft.intensity_quantiles
    grey = published.eight_bits(stack, levels["q0.5"], levels["q99.5"])
    return grey[list(prepared.draft.slices.index)]


def canvas_of(stack: np.ndarray, multiple: int = 14) -> list[int]:
    """What the refusal says for a stack of this ratio."""
    rows, columns = stack.shape[1:]
    sides = [int(448 * side / min(rows, columns)) for side in (rows, columns)]
    return [side - side % multiple for side in sides]


@pytest.fixture(params=[*SHAPES, *REAL])
def volume(request, tmp_path) -> Path:
    if request.param in SHAPES:
        return save_head(tmp_path / "x.nii.gz", SHAPES[request.param])
    path = request.getfixturevalue("shared_data") / REAL[request.param]
    if not path.is_file():
        pytest.skip(f"{path.name} is not on this machine")
    return path


def test_mst_is_its_own_input(volume):
    stack = published.house_stack(volume)
    if stack[0].size < 1000:
        # More than 99.5 % is padding, and nothing varies between the percentiles: torchio stops there too.
        with pytest.raises(ValueError, match="standard deviation is 0"):
            published.mst_mri(stack)
        with pytest.raises(VolumeError, match="is this a mask or a label image"):
            prepared_by(volume, "mst")
        return
    prepared, expected = prepared_by(volume, "mst"), published.mst_mri(stack)
    assert prepared.images.shape == expected.shape == (32, 224, 224)
    # torch sums in float32: its mean and deviation differ from exact ones in the last bits.
    np.testing.assert_allclose(prepared.images, expected, atol=5e-6)
    assert torch.equal(canvas_images(prepared, CPU), torch.from_numpy(prepared.images))


def test_mst_counts_what_its_breast_mri_counts(tmp_path):
    path = save_head(tmp_path / "x.nii", SHAPES["thin"])
    expected = published.mst_mri(published.house_stack(path), above=0)
    prepared = prepared_by(path, "mst", intensity=Zscore(over="canvas", above=0))
    np.testing.assert_allclose(prepared.images, expected, atol=5e-6)
    assert np.abs(prepared.images - prepared_by(path, "mst").images).max() > 0.1


def test_mst_of_ct_is_its_own_window_bit_for_bit(volume):
    window = Window(low=-1000, high=1000, to=(-1, 1))
    prepared = prepared_by(volume, "mst", intensity=window)
    np.testing.assert_array_equal(prepared.images, published.mst_ct(published.house_stack(volume)))


def test_detectors_get_the_shorter_edge_bit_for_bit(volume):
    preset: PresetName = "anomalydino"
    assert PRESETS["dpmm"] == PRESETS[preset]
    stack = published.house_stack(volume)
    canvas = {"kind": "shorter", "pixels": canvas_of(stack)}
    prepared = prepared_by(volume, preset, slices=SOME, canvas=canvas)
    expected = published.shorter_edge(kept_of(prepared, stack))
    np.testing.assert_array_equal(prepared.images, expected)
    one = canvas_images(prepared, CPU)[:1]
    steps = PRESETS[preset]
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (steps.mean, steps.std))
    assert torch.equal((one - mean) / std, published.normalised(expected[0]))


def test_ar_gets_the_stretched_slice_bit_for_bit(volume):
    prepared = prepared_by(volume, "ar", slices=SOME)
    expected = published.stretched(kept_of(prepared, published.house_stack(volume)))
    assert prepared.images.shape[1:] == (448, 448)
    np.testing.assert_array_equal(prepared.images, expected)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 260), st.integers(1, 260), st.integers(1, 70), st.integers(0, 3))
def test_any_shape_is_cropped_or_padded_as_written_out(rows, columns, slices, seed):
    values = np.random.default_rng(seed).normal(size=(slices, rows, columns)).astype(np.float32)
    expected = published.cropped_or_padded(values, (32, 224, 224), values.min())
    np.testing.assert_array_equal(shown_voxels(values), expected)


def shown_voxels(values: np.ndarray) -> np.ndarray:
    """What the `mst` canvas shows of a stack, unscaled."""
    from extract.slices.canvas import CropOrPadCanvas, crop_or_pad_axes
    from extract.slices.images import Sliced, cropped_or_padded
    from extract.slices.rules import CropOrPad, Extent

    n = len(values)
    kept = CropOrPad(n=32).keep(Extent(n, 0, n - 1, 1.0))
    there = kept[(kept >= 0) & (kept < n)]
    padding = int((kept < 0).sum()), int((kept >= n).sum())
    axes = crop_or_pad_axes(CropOrPadCanvas(), *values.shape[1:])
    source = Sliced(values[there], values[there] > 0, padding, values, values.ravel(), *axes, None)
    return cropped_or_padded(source.images, values.min(), source)
