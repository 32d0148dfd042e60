"""Turned and mirrored slices: numbers of the released code, written-out references, and the way back."""

from pathlib import Path

import nibabel
import numpy as np
import published_inputs as published
import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from scipy import ndimage

from cache_schema.format.identity import VolumeKey
from cache_schema.format.record import Entities
from extract.engines.on_device import canvas_images, foreground_share
from extract.slices.prepare import PreparedVolume, prepare_volume
from extract.slices.preprocessing import StepOverrides
from extract.slices.presets import PRESETS, preprocessing_of
from extract.slices.view import ViewSpec, turn_of
from extract.sources.candidate import Candidate

pytestmark = pytest.mark.numerics

PARITY = Path(__file__).parents[1] / "data" / "parity" / "anomalydino.npz"
CPU = torch.device("cpu")
CANVASES = {
    "field": {"kind": "field", "field_mm": 200, "pixels": [56, 70]},
    "crop_or_pad": {"kind": "crop_or_pad", "pixels": [31, 36]},
    "pillow": {"kind": "stretch", "pixels": [42, 56]},
    "torch": {"kind": "crop", "resize": 59, "pixels": 42, "filter": "torch-bilinear"},
}
FLIPS = {"rows": (1,), "columns": (2,), "both": (1, 2)}


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ball with a ramp that differs along every axis, of unequal sides and spacing, not stored as RAS."""
    shape, spacing = (37, 44, 9), (4.0, 5.0, 8.0)
    i, j, k = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    ramp = 400 + 150 * i + 80 * j + 60 * k + 60 * np.sin(3 * i * j)
    data = np.where(i**2 + j**2 + k**2 < 0.8, ramp, 0).astype(np.float32)
    path = tmp_path_factory.mktemp("views") / "v.nii"
    nibabel.save(nibabel.Nifti1Image(data[::-1], np.diag([-spacing[0], *spacing[1:], 1])), path)
    return path


def prepared_by(path: Path, preset: str = "letterbox", **steps: object) -> PreparedVolume:
    candidate = Candidate(VolumeKey("p", "", "v"), path, path.name, Entities())
    return prepare_volume(candidate, preprocessing_of(preset, StepOverrides.model_validate(steps)))


def test_rotations_are_the_released_ones() -> None:
    with np.load(PARITY, allow_pickle=False) as found:
        image, eight = found["rotation_image"], found["rotation_uint8"]
        plain, floats = found["rotation_float_image"], found["rotation_float"]
        angles = found["rotation_angles"]
    for place, angle in enumerate(angles):
        turn = turn_of(ViewSpec(rotate_deg=float(angle), about="released"), *plain.shape)
        if turn is None:
            assert angle == 0
            continue
        channels = np.moveaxis(image, 2, 0)
        np.testing.assert_array_equal(turn.of(channels), np.moveaxis(eight[place], 2, 0))
        np.testing.assert_allclose(turn.of(plain[None])[0], floats[place], rtol=0, atol=2e-6)


def test_right_angles_move_pixels_and_four_of_them_nothing() -> None:
    stack = np.random.default_rng(0).normal(size=(2, 7, 7)).astype(np.float32)
    turn = turn_of(ViewSpec(rotate_deg=90), 7, 7)
    assert turn is not None
    np.testing.assert_array_equal(turn.of(stack), np.rot90(stack, axes=(1, 2)))
    four = stack
    for _ in range(4):
        four = turn.of(four)
    np.testing.assert_array_equal(four, stack)
    half = turn_of(ViewSpec(rotate_deg=180), 7, 7)
    assert half is not None
    np.testing.assert_array_equal(half.of(stack > 0), (stack > 0)[:, ::-1, ::-1])


def test_no_rotation_is_no_step() -> None:
    none = preprocessing_of("letterbox", StepOverrides(view=ViewSpec()))
    assert none == PRESETS["letterbox"]
    turned = preprocessing_of("letterbox", StepOverrides(view=ViewSpec(rotate_deg=45)))
    *before, view = turned.fingerprint_steps()
    assert tuple(before) == none.fingerprint_steps()
    assert view == {"step": "view", "rotate_deg": 45.0, "about": "centre", "flip": None}
    for wrong in ({"rotate_deg": 360}, {"rotate_deg": -45}, {"flip": "lr"}, {"turn": 45}):
        with pytest.raises(ValidationError):
            ViewSpec.model_validate(wrong)


def test_references_are_turned_in_eight_bits_before_they_are_resized(volume: Path) -> None:
    """By nibabel, scipy and Pillow: the slice turned about (H / 2, W / 2), then as AnomalyDINO resizes."""
    stack = published.house_stack(volume)
    canvas = {"kind": "shorter", "resize": 56, "pixels": [56, 56], "unlike": "cut_or_pad"}
    for about, shift in (("released", 0.0), ("centre", 0.5)):
        view = {"rotate_deg": 135, "about": about}
        prepared = prepared_by(volume, "anomalydino", canvas=canvas, view=view)
        levels = prepared.draft.intensity_quantiles
        grey = published.eight_bits(stack, levels["q0.5"], levels["q99.5"])
        grey = grey[list(prepared.draft.slices.index)]
        height, width = grey.shape[1:]
        middle = np.array([height / 2 - shift, width / 2 - shift])
        row, col = np.indices((height, width)) - middle[:, None, None]
        c, s = np.cos(np.deg2rad(135)), np.sin(np.deg2rad(135))
        source = [c * row + s * col + middle[0], -s * row + c * col + middle[1]]
        turned = [ndimage.map_coordinates(g.astype(float), source, order=1, mode="mirror") for g in grey]
        size = (56, int(56 * height / width)) if width <= height else (int(56 * width / height), 56)
        for image, one in zip(prepared.images, turned, strict=True):
            whole = Image.fromarray(np.rint(one).astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)
            apart = np.abs(image.astype(int) - np.asarray(whole)[:56, :56])
            # A grey value that lies between two is rounded to either by the last digit of a coordinate.
            assert apart.max() <= 1
            assert (apart > 0).mean() < 0.01


@pytest.mark.parametrize("canvas", CANVASES)
@pytest.mark.parametrize("flip", FLIPS)
def test_mirrored_slices_are_the_canvas_mirrored(volume: Path, canvas: str, flip: str) -> None:
    plain = prepared_by(volume, canvas=CANVASES[canvas])
    other = prepared_by(volume, canvas=CANVASES[canvas], view={"flip": flip})
    grid = tuple(side // 14 if side % 14 == 0 else 1 for side in plain.draft.geometry.canvas)
    for made in (canvas_images, lambda prepared, device: foreground_share(prepared, grid, device)):
        assert torch.equal(made(other, CPU), made(plain, CPU).flip(FLIPS[flip]))
    assert other.draft.slices == plain.draft.slices


@pytest.mark.parametrize("canvas", CANVASES)
@pytest.mark.parametrize(
    "view",
    [{"rotate_deg": 30}, {"rotate_deg": 90, "flip": "rows"}, {"rotate_deg": 45, "about": "released"}],
    ids=str,
)
def test_the_geometry_leads_back_to_the_voxels(volume: Path, canvas: str, view: dict) -> None:
    """What the canvas shows at a pixel is what the volume holds where `canvas_to_native` says it is from."""
    window = {"kind": "window", "low": 0, "high": 1000}
    prepared = prepared_by(
        volume, canvas=CANVASES[canvas], view=view, intensity=window, slices={"kind": "all"}
    )
    shown = canvas_images(prepared, CPU).numpy()
    data = np.asarray(nibabel.load(volume).dataobj)
    inside = ndimage.binary_erosion(data > 0, iterations=3).astype(float)
    rows, columns = np.indices(shown.shape[1:])
    for place, index in enumerate(prepared.draft.slices.index):
        pixels = np.stack([rows, columns, np.full_like(rows, index), np.ones_like(rows)]).reshape(4, -1)
        native = np.asarray(prepared.draft.geometry.canvas_to_native) @ pixels
        expected = ndimage.map_coordinates(data, native, order=1).reshape(shown[place].shape) / 1000
        sure = (
            ndimage.map_coordinates(inside, native, order=1, mode="constant").reshape(expected.shape) > 0.99
        )
        np.testing.assert_allclose(shown[place][sure], expected[sure], rtol=0, atol=0.02)
        if place == len(shown) // 2:
            assert sure.sum() > 20


def test_a_field_has_room_for_what_the_slice_would_cut_off(volume: Path) -> None:
    """The field is square and the head is not: nothing of it is lost when it is turned."""
    square = {"kind": "field", "field_mm": 224, "pixels": 56}
    areas = [
        float(foreground_share(prepared_by(volume, canvas=square, view=view), (4, 4), CPU).sum())
        for view in ({}, {"rotate_deg": 90}, {"rotate_deg": 45})
    ]
    assert areas[1] == pytest.approx(areas[0], rel=0.05)
    assert areas[2] == pytest.approx(areas[0], rel=0.05)
