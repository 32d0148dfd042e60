"""Score maps in native voxels, on the geometry that stage one really records."""

import itertools
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, ornt_transform
from scipy.ndimage import gaussian_filter

from aggregate.anomaly.maps.placement import Placement, native_map, native_slices, placement
from cache_schema.common.errors import SlicecacheError, StoreError
from cache_schema.format.identity import VolumeKey
from cache_schema.format.record import Entities, VolumeRecord
from extract.engines.on_device import canvas_images, pool
from extract.slices.canvas import CropCanvas, FieldCanvas
from extract.slices.intensity import Percentile
from extract.slices.prepare import PreparedVolume, prepare_volume
from extract.slices.preprocessing import StepOverrides
from extract.slices.presets import preprocessing_of
from extract.slices.rules import Every
from extract.sources.candidate import Candidate

pytestmark = pytest.mark.numerics

GRID = (16, 16)
EIGHT = ["RAS", "LPS", "LAS", "RPI", "PSR", "ASL", "LSA", "IPR"]
CUBE_MM = np.array([-34.0, 38.0, 26.0])
"""Centre of the hot cube: left, front, up."""


def record_of(prepared: PreparedVolume) -> VolumeRecord:
    return VolumeRecord(**prepared.draft.model_dump(), row=0, tokens={}, digest="0" * 64)


def turned(degrees_x: float, degrees_z: float) -> np.ndarray:
    x, z = np.deg2rad([degrees_x, degrees_z])
    about_x = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
    about_z = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
    return about_z @ about_x


def save_head(path: Path, spacing, codes="RAS", turn=None, field=(190, 226, 168)) -> nibabel.Nifti1Image:
    """A stripped head with a cube of 20 mm at `CUBE_MM`, on any grid."""
    shape = [round(length / size) for length, size in zip(field, spacing, strict=True)]
    affine = np.eye(4)
    affine[:3, :3] = (np.eye(3) if turn is None else turn) * np.array(spacing)
    affine[:3, 3] = np.array([3.0, -5.0, 7.0]) - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    voxels = np.indices(shape).reshape(3, -1)
    x, y, z = (affine[:3, :3] @ voxels + affine[:3, 3:]).reshape(3, *shape)
    inside = (x / 72) ** 2 + (y / 88) ** 2 + (z / 66) ** 2 < 1
    hot = np.max(np.abs(np.stack([x, y, z]) - CUBE_MM[:, None, None, None]), axis=0) <= 10
    data = (inside * (300 + 0.5 * y + x) + 900 * hot).astype(np.float32)
    ornt = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(codes))
    image = nibabel.Nifti1Image(apply_orientation(data, ornt), affine @ inv_ornt_aff(ornt, data.shape))
    nibabel.save(image, path)
    return image


def prepared_from(path: Path, canvas=None, **overrides) -> PreparedVolume:
    steps = StepOverrides(canvas=canvas or FieldCanvas(), intensity=Percentile(low=0, high=100), **overrides)
    candidate = Candidate(VolumeKey("p", "", "T1w"), path, path.name, Entities(contrast="T1w"))
    return prepare_volume(candidate, preprocessing_of("letterbox", steps))


def hot_scores(prepared: PreparedVolume) -> np.ndarray:
    """How much of every patch is cube, seen through stage one's own canvas."""
    images = canvas_images(prepared, torch.device("cpu"))
    return pool((images > 0.6).float(), GRID).numpy()


def centroid_mm(values: np.ndarray, affine: np.ndarray) -> np.ndarray:
    weights = values / values.sum()
    voxel = np.array([(np.indices(values.shape)[a] * weights).sum() for a in range(3)])
    return affine[:3, :3] @ voxel + affine[:3, 3]


@pytest.mark.parametrize("codes", EIGHT)
@pytest.mark.parametrize(
    ("spacing", "turn"),
    [((3.0, 2.5, 3.5), None), ((2.0, 2.0, 4.0), None), ((3.0, 3.0, 3.0), turned(14, 9))],
    ids=["uneven", "2x2x4", "oblique"],
)
def test_a_hot_cube_stays_in_its_world_octant(tmp_path, codes, spacing, turn):
    image = save_head(tmp_path / "x.nii", spacing, codes, turn)
    prepared = prepared_from(tmp_path / "x.nii")
    record = record_of(prepared)
    found = native_map(hot_scores(prepared), placement(record, GRID))
    assert found.shape == image.shape
    apart = np.abs(centroid_mm(found, image.affine) - CUBE_MM)
    token_mm = 14 * max(record.geometry.pixel_mm)
    assert (apart <= token_mm / 2 + max(spacing) / 2).all()
    # Far better in truth: the blur is even on both sides.
    assert apart.max() <= 2.5
    hottest = image.affine @ [*np.unravel_index(found.argmax(), found.shape), 1]
    assert (np.sign(hottest[:3]) == np.sign(CUBE_MM)).all()


@pytest.mark.parametrize("canvas", [FieldCanvas(field_mm="native"), CropCanvas(), FieldCanvas(pixels=112)])
def test_every_canvas_leads_back(tmp_path, canvas):
    image = save_head(tmp_path / "x.nii", (2.5, 3.0, 3.5), "PSR")
    prepared = prepared_from(tmp_path / "x.nii", canvas)
    found = native_map(hot_scores(prepared), placement(record_of(prepared), GRID))
    np.testing.assert_allclose(centroid_mm(found, image.affine), CUBE_MM, atol=2.5)


@pytest.mark.parametrize("plane", ["coronal", "sagittal"])
@pytest.mark.parametrize("codes", EIGHT)
def test_every_plane_leads_back(tmp_path, plane, codes):
    image = save_head(tmp_path / "x.nii", (3.0, 2.5, 3.5), codes)
    prepared = prepared_from(tmp_path / "x.nii", plane=plane)
    found = native_map(hot_scores(prepared), placement(record_of(prepared), GRID))
    np.testing.assert_allclose(centroid_mm(found, image.affine), CUBE_MM, atol=2.5)


def test_all_48_orders_give_one_map(tmp_path):
    save_head(tmp_path / "RAS.nii", (4.0, 3.5, 5.0))
    first = prepared_from(tmp_path / "RAS.nii")
    scores = np.random.default_rng(0).normal(size=(len(first.images), *GRID)).astype(np.float32)
    expected = native_map(scores, placement(record_of(first), GRID))
    for axes in itertools.permutations(("LR", "AP", "SI")):
        for letters in itertools.product(*axes):
            codes = "".join(letters)
            save_head(tmp_path / "x.nii", (4.0, 3.5, 5.0), codes)
            found = native_map(scores, placement(record_of(prepared_from(tmp_path / "x.nii")), GRID))
            back = ornt_transform(axcodes2ornt(codes), axcodes2ornt("RAS"))
            np.testing.assert_allclose(apply_orientation(found, back), expected, atol=1e-4)


@pytest.mark.parametrize("smooth", [0.0, 4.0])
@pytest.mark.parametrize("field_mm", [250.0, 150.0])
def test_a_constant_stays_constant_where_covered(tmp_path, smooth, field_mm):
    save_head(tmp_path / "x.nii", (2.0, 2.0, 4.0), "LPS", turned(8, 5))
    record = record_of(prepared_from(tmp_path / "x.nii", FieldCanvas(field_mm=field_mm)))
    place = placement(record, GRID, smooth)
    found = native_map(np.full((len(record.slices.index), *GRID), 0.75, np.float32), place)
    covered = place.covered()
    np.testing.assert_allclose(found[covered], 0.75, atol=1e-6)
    assert (found[~covered] == 0).all()
    assert covered.mean() > (0.6 if field_mm == 250 else 0.3)
    assert covered.all(axis=(0, 1)).any() == (field_mm == 250)


def slow_map(scores: np.ndarray, record: VolumeRecord, pixels: int) -> np.ndarray:
    """Voxel by voxel, through the inverse of `canvas_to_native` alone."""
    matrix = np.vstack([record.geometry.canvas_to_native, [0, 0, 0, 1]])
    out = np.zeros(record.geometry.native_shape)
    size = pixels / scores.shape[1], pixels / scores.shape[2]
    for voxel in np.ndindex(*out.shape):
        row, column, index, _ = np.linalg.inv(matrix) @ [*voxel, 1]
        if round(index) not in record.slices.index or not (-0.5 <= row <= pixels - 0.5):
            continue
        if not (-0.5 <= column <= pixels - 0.5):
            continue
        image = scores[record.slices.index.index(round(index))]
        r, c = (row + 0.5) / size[0] - 0.5, (column + 0.5) / size[1] - 0.5
        r, c = np.clip(r, 0, image.shape[0] - 1), np.clip(c, 0, image.shape[1] - 1)
        a, b = min(int(r), image.shape[0] - 2), min(int(c), image.shape[1] - 2)
        u, v = r - a, c - b
        top = (1 - v) * image[a, b] + v * image[a, b + 1]
        bottom = (1 - v) * image[a + 1, b] + v * image[a + 1, b + 1]
        out[voxel] = (1 - u) * top + u * bottom
    return out


def test_the_matrices_are_the_written_out_interpolation(tmp_path):
    save_head(tmp_path / "x.nii", (13.0, 11.0, 12.0), "PIR")
    prepared = prepared_from(tmp_path / "x.nii", FieldCanvas(field_mm=190, pixels=70))
    record = record_of(prepared)
    scores = np.random.default_rng(1).normal(size=(len(record.slices.index), 5, 7)).astype(np.float32)
    found = native_map(scores, placement(record, (5, 7)))
    np.testing.assert_allclose(found, slow_map(scores, record, 70), atol=2e-6)


def canvas_placement(pixels: int, grid: int, smooth: float) -> Placement:
    """A volume whose native slices are the canvas itself."""
    import made_up_store as example

    geometry = example.example_draft(example.example_key(1), 3).geometry
    geometry = geometry.model_copy(update={"native_shape": (pixels, pixels, 7), "canvas": (pixels, pixels)})
    draft = example.example_draft(example.example_key(1), 3, geometry=geometry)
    record = VolumeRecord(**draft.model_dump(), row=0, tokens={}, digest="0" * 64)
    return placement(record, (grid, grid), smooth)


def test_smoothing_is_bilinear_then_the_reflected_gaussian():
    """The memory bank's published map: 32 tokens to 240 pixels, sigma 4, truncate 4."""
    scores = np.random.default_rng(2).random((3, 32, 32)).astype(np.float32)
    found = native_map(scores, canvas_placement(240, 32, 4.0))
    up = torch.nn.functional.interpolate(
        torch.from_numpy(scores).double()[:, None], size=(240, 240), mode="bilinear", align_corners=False
    )[:, 0].numpy()
    expected = [gaussian_filter(image, 4.0, mode="reflect", truncate=4.0) for image in up]
    np.testing.assert_allclose(found[..., 2:5].transpose(2, 0, 1), expected, atol=1e-5)


def test_without_smoothing_it_is_torchs_bilinear():
    scores = np.random.default_rng(3).random((3, 7, 7)).astype(np.float32)
    found = native_map(scores, canvas_placement(98, 7, 0.0))
    up = torch.nn.functional.interpolate(
        torch.from_numpy(scores)[:, None], size=(98, 98), mode="bilinear", align_corners=False
    )[:, 0].numpy()
    np.testing.assert_allclose(found[..., 2:5].transpose(2, 0, 1), up, atol=1e-5)
    assert (found[..., :2] == 0).all()
    assert (found[..., 5:] == 0).all()


@pytest.mark.parametrize("codes", ["RAS", "RAI"])
def test_slices_between_kept_ones_are_zero_or_a_straight_line(tmp_path, codes):
    save_head(tmp_path / "x.nii", (6.0, 6.0, 4.0), codes)
    record = record_of(prepared_from(tmp_path / "x.nii", slices=Every(step_mm=12)))
    place = placement(record, GRID)
    n = len(record.slices.index)
    ramp = np.broadcast_to(np.array(record.slices.index, dtype=np.float32)[:, None, None], (n, *GRID))
    striped, filled = native_map(ramp.copy(), place), native_map(ramp.copy(), place, "linear")
    middle = tuple(length // 2 for length in striped.shape[:2])
    ends = sorted(place.positions)[0], sorted(place.positions)[-1]
    index = np.arange(striped.shape[2])
    stacked = index if codes == "RAS" else striped.shape[2] - 1 - index
    inside = (index >= ends[0]) & (index <= ends[1])
    np.testing.assert_allclose(filled[middle], np.where(inside, stacked, 0), atol=1e-4)
    kept = np.isin(index, place.positions)
    np.testing.assert_allclose(striped[middle], np.where(kept, stacked, 0), atol=1e-4)
    assert (np.diff(sorted(place.positions)) == 3).all()


def test_blocks_hold_few_slices(tmp_path):
    save_head(tmp_path / "x.nii", (6.0, 6.0, 2.0))
    place = placement(record_of(prepared_from(tmp_path / "x.nii")), GRID)
    sizes = [len(p) for p, _ in native_slices(np.zeros((len(place.positions), *GRID), np.float32), place)]
    assert sum(sizes) == len(place.positions)
    assert max(sizes) <= 16


def test_what_cannot_be_placed_is_a_sentence(tmp_path):
    save_head(tmp_path / "x.nii", (6.0, 6.0, 6.0))
    record = record_of(prepared_from(tmp_path / "x.nii"))
    place = placement(record, GRID)
    n = len(place.positions)
    with pytest.raises(SlicecacheError, match="shape"):
        native_map(np.zeros((n + 1, *GRID), np.float32), place)
    with pytest.raises(SlicecacheError, match="finite"):
        native_map(np.full((n, *GRID), np.nan, np.float32), place)
    turn = [list(row) for row in record.geometry.canvas_to_native]
    turn[0][0] += 0.3
    geometry = record.geometry.model_copy(update={"canvas_to_native": tuple(map(tuple, turn))})
    with pytest.raises(StoreError, match="runs along 2 native axes"):
        placement(record.model_copy(update={"geometry": geometry}), GRID)
