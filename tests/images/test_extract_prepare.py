"""A volume from file to canvas: landmarks go back, scanners and axis orders do not show."""

import itertools
import pickle
from pathlib import Path

import nibabel
import numpy as np
import pytest
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, ornt_transform

from cache_schema.common.errors import VolumeError
from cache_schema.common.pipeline_file import validate
from cache_schema.format.identity import VolumeKey
from cache_schema.format.record import Entities
from extract.planning.config import ExtractSection
from extract.planning.plan import plan_extraction
from extract.slices.canvas import CropCanvas, FieldCanvas
from extract.slices.intensity import Percentile, quantiles
from extract.slices.prepare import PreparedVolume, prepare_volume
from extract.slices.preprocessing import StepOverrides
from extract.slices.presets import PRESETS, preprocessing_of
from extract.sources.candidate import Candidate

LETTERBOX = PRESETS["letterbox"]


def candidate(path: Path, **more) -> Candidate:
    return Candidate(VolumeKey("p", "s", "v"), path, path.name, Entities(contrast="T1w"), **more)


def grey_of(prepared: PreparedVolume) -> np.ndarray:
    """What the device makes of the slices before it resamples them."""
    if prepared.tone is None:
        return prepared.images
    return prepared.tone.grey(prepared.images.astype(np.float32)) - np.float32(prepared.background)


def on_canvas(prepared: PreparedVolume) -> np.ndarray:
    """What the device will compute, `(slice, row, column)`."""
    if prepared.row_weights is None:
        return prepared.images / 255
    return np.stack([prepared.row_weights @ image @ prepared.column_weights.T for image in grey_of(prepared)])


def store_as(path: Path, ras: np.ndarray, affine: np.ndarray, codes: str = "RAS") -> Path:
    ornt = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(codes))
    image = nibabel.Nifti1Image(apply_orientation(ras, ornt), affine @ inv_ornt_aff(ornt, ras.shape))
    nibabel.save(image, path)
    return path


def phantom(spacing, field_mm, centre_mm=(0.0, 0.0, 0.0)):
    """A stripped head of three tissues and one bright landmark left, front and up, sampled in RAS at will."""
    shape = [round(field / size) for field, size in zip(field_mm, spacing, strict=True)]
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = [
        centre - (n - 1) / 2 * size for centre, n, size in zip(centre_mm, shape, spacing, strict=True)
    ]
    x, y, z = np.meshgrid(*[affine[a, 3] + spacing[a] * np.arange(shape[a]) for a in range(3)], indexing="ij")
    radius = np.sqrt((x / 66) ** 2 + (y / 84) ** 2 + (z / 60) ** 2)
    data = np.select([radius <= 0.5, radius <= 0.8, radius <= 1.0], [600.0, 800.0, 400.0], 0.0)
    data += (radius <= 1.0) * (x + 2 * y) * 0.5
    landmark = np.sqrt((x + 30) ** 2 + (y - 40) ** 2 + (z - 20) ** 2)
    data[(landmark <= 5) & (radius <= 1)] = 1500.0
    return data.astype(np.float32), affine


def landmark_of(images: np.ndarray) -> np.ndarray:
    """Centre `(row, column, slice)` of the brightest blob."""
    where = np.argwhere(images > 0.8)
    return where.mean(axis=0)[[1, 2, 0]]


@pytest.mark.parametrize("codes", ["RAS", "PSR", "LIP", "SLA", "IAR"])
@pytest.mark.parametrize("canvas", [FieldCanvas(), FieldCanvas(field_mm="native"), CropCanvas()])
def test_a_landmark_on_the_canvas_is_found_again_in_native_voxels(tmp_path, codes, canvas):
    data, affine = phantom((2.0, 1.5, 2.5), (200, 230, 160), (7, -4, 11))
    path = store_as(tmp_path / "x.nii.gz", data, affine, codes)
    overrides = StepOverrides(canvas=canvas, intensity=Percentile(high=100))
    prepared = prepare_volume(candidate(path), preprocessing_of("letterbox", overrides))
    row, column, position = landmark_of(on_canvas(prepared))
    index = np.interp(position, np.arange(len(prepared.draft.slices.index)), prepared.draft.slices.index)
    geometry = prepared.draft.geometry
    native = np.array(geometry.canvas_to_native) @ [row, column, index, 1]
    world = np.array(geometry.affine) @ [*native, 1]
    np.testing.assert_allclose(world[:3], [-30, 40, 20], atol=1.3)
    assert geometry.orientation == codes
    # Left of the middle, front of the middle.
    assert row < 112
    assert column < 112


def test_world_z_and_heights_are_those_of_the_slices(tmp_path):
    data, affine = phantom((2.0, 1.5, 2.5), (200, 230, 160), (7, -4, 11))
    slices = prepare_volume(
        candidate(store_as(tmp_path / "x.nii", data, affine, "PSR")), LETTERBOX
    ).draft.slices
    z = affine[2, 3] + 2.5 * np.array(slices.index)
    np.testing.assert_allclose(slices.world_z_mm, z, atol=1e-6)
    enough = np.count_nonzero(data, axis=(0, 1)) * 2.0 * 1.5 >= 500
    vertex = affine[2, 3] + 2.5 * np.flatnonzero(enough)[-1]
    np.testing.assert_allclose(slices.height_mm, vertex - z, atol=1e-6)
    assert slices.n_volume == 64
    assert slices.spacing_mm == pytest.approx(2.5)


@pytest.mark.numerics
def test_all_48_axis_orders_give_the_same_images(tmp_path):
    data, affine = phantom((4.0, 3.0, 5.0), (200, 231, 160))
    orders = [
        "".join(codes)
        for axes in itertools.permutations(("LR", "AP", "SI"))
        for codes in itertools.product(*axes)
    ]
    first = prepare_volume(candidate(store_as(tmp_path / "RAS.nii", data, affine)), LETTERBOX)
    for codes in orders:
        path = store_as(tmp_path / f"{codes}.nii", data, affine, codes)
        other = prepare_volume(candidate(path), LETTERBOX)
        np.testing.assert_array_equal(first.images, other.images)
        np.testing.assert_allclose(first.row_weights, other.row_weights, atol=1e-5)
        np.testing.assert_allclose(first.column_weights, other.column_weights, atol=1e-5)
        assert other.draft.slices.index == first.draft.slices.index


def outlines(prepared: PreparedVolume, heights: np.ndarray) -> np.ndarray:
    """First and last foreground row and column on the canvas at the given heights."""
    found = []
    for height in heights:
        nearest = int(np.argmin(np.abs(np.array(prepared.draft.slices.height_mm) - height)))
        mask = prepared.mask[nearest].astype(np.float32)
        shown = prepared.row_weights @ mask @ prepared.column_weights.T > 0.5
        ends = [np.flatnonzero(shown.any(axis=axis))[[0, -1]] for axis in (1, 0)]
        found.append(np.concatenate(ends))
    return np.array(found)


@pytest.mark.parametrize(
    ("spacing", "field_mm", "centre_mm"),
    [
        ((0.94, 1.2, 2.0), (240, 240, 160), (0, 0, 0)),
        ((0.94, 0.94, 2.0), (240, 240, 160), (0, 0, 0)),
        ((0.94, 0.94, 2.0), (190, 256, 160), (13, -9, 0)),
        ((1.2, 0.94, 2.0), (180, 256, 200), (0, 15, 10)),
    ],
)
def test_a_scanners_voxels_and_field_of_view_do_not_show(tmp_path, spacing, field_mm, centre_mm):
    heights = np.array([20.0, 40.0, 60.0, 80.0])
    data, affine = phantom((1.0, 1.0, 2.0), (224, 224, 160))
    expected = outlines(
        prepare_volume(candidate(store_as(tmp_path / "a.nii", data, affine)), LETTERBOX), heights
    )
    data, affine = phantom(spacing, field_mm, centre_mm)
    found = outlines(
        prepare_volume(candidate(store_as(tmp_path / "b.nii", data, affine)), LETTERBOX), heights
    )
    assert np.abs(found - expected).max() <= 1


def test_a_real_head_resampled_keeps_its_outline(shared_data, tmp_path):
    from nibabel.processing import resample_from_to

    path = shared_data / "ds002748-native" / "sub-09" / "anat" / "sub-09_T1w.nii.gz"
    image = nibabel.as_closest_canonical(nibabel.load(path))
    heights = np.array([25.0, 45.0, 65.0])
    results = []
    for index, (spacing, shift) in enumerate(
        [((1.2, 0.94, 2.0), (0, 0, 0)), ((0.94, 0.94, 2.0), (0, 0, 0)), ((0.94, 0.94, 2.0), (-9, 14, 0))]
    ):
        affine = image.affine @ np.diag([*(np.array(spacing) / image.header.get_zooms()[:3]), 1])
        affine[:3, 3] = image.affine[:3, 3] + shift
        shape = (int(260 / spacing[0]), int(260 / spacing[1]), 90)
        resampled = resample_from_to(image, (shape, affine), order=1)
        nibabel.save(resampled, tmp_path / f"{index}.nii")
        results.append(outlines(prepare_volume(candidate(tmp_path / f"{index}.nii"), LETTERBOX), heights))
    assert np.abs(np.array(results) - results[0]).max() <= 1


def test_the_eight_orientations_of_one_real_brain_agree(shared_data):
    volumes = [
        prepare_volume(candidate(path), LETTERBOX)
        for path in sorted((shared_data / "orientations").iterdir())
    ]
    assert len(volumes) == 8
    first = on_canvas(volumes[0])
    for other in volumes[1:]:
        assert other.draft.slices.index == volumes[0].draft.slices.index
        assert np.abs(on_canvas(other) - first).max() < 0.01


def test_intensities_are_the_window_of_the_foreground(tmp_path):
    data, affine = phantom((4.0, 3.0, 5.0), (200, 231, 160))
    prepared = prepare_volume(candidate(store_as(tmp_path / "x.nii", data, affine)), LETTERBOX)
    low, high = np.percentile(data[data != 0].astype(np.float64), [0.5, 99.5])
    assert prepared.draft.intensity_quantiles["q0.5"] == pytest.approx(low)
    assert prepared.draft.intensity_quantiles["q99.5"] == pytest.approx(high)
    # RAS data: rows run against y, columns along x.
    expected = np.clip((np.moveaxis(data, 2, 0).transpose(0, 2, 1)[:, ::-1] - low) / (high - low), 0, 1)
    kept = list(prepared.draft.slices.index)
    np.testing.assert_allclose(grey_of(prepared), expected[kept], atol=1e-6)
    assert grey_of(prepared).dtype == np.float32


def test_quantiles_are_numpys():
    values = np.random.default_rng(0).normal(size=(7, 11, 13)).astype(np.float32)
    percents = (0.0, 0.5, 33.3, 50, 99.5, 100)
    np.testing.assert_allclose(
        quantiles(values, percents), np.percentile(values.astype(np.float64), percents)
    )
    np.testing.assert_array_equal(quantiles(np.array([4.0]), percents), [4.0] * 6)


def test_a_mask_file_decides(tmp_path):
    data, affine = phantom((4.0, 3.0, 5.0), (200, 231, 160))
    mask = (data > 500).astype(np.uint8)
    volume = store_as(tmp_path / "x.nii", data, affine, "PSR")
    prepared = prepare_volume(
        candidate(volume, foreground_path=store_as(tmp_path / "m.nii", mask, affine, "PSR")), LETTERBOX
    )
    assert prepared.draft.foreground.kind == "mask"
    assert prepared.draft.foreground.millilitres == pytest.approx(mask.sum() * 0.06, rel=1e-6)


def test_what_the_field_cuts_off_is_counted_and_said(tmp_path):
    data, affine = phantom((2.0, 2.0, 5.0), (200, 230, 160))
    path = store_as(tmp_path / "x.nii", data, affine)
    assert prepare_volume(candidate(path), LETTERBOX).draft.geometry.outside_field == 0
    small = prepare_volume(candidate(path), preprocessing_of("letterbox", StepOverrides(field_mm=100)))
    assert 0.2 < small.draft.geometry.outside_field < 0.8
    assert "outside the field" in small.draft.warnings[0]
    assert small.draft.geometry.pixel_mm == pytest.approx((100 / 224, 100 / 224))


def test_a_label_image_is_refused(tmp_path):
    data, affine = phantom((4.0, 3.0, 5.0), (200, 231, 160))
    path = store_as(tmp_path / "x.nii", (data > 0).astype(np.uint8), affine)
    with pytest.raises(VolumeError, match="a mask or a label image"):
        prepare_volume(candidate(path), LETTERBOX)


def test_a_rule_that_keeps_nothing_is_a_sentence(tmp_path):
    data, affine = phantom((4.0, 3.0, 5.0), (200, 231, 160))
    rule = {"kind": "band", "from_vertex_mm": [300, 400]}
    section = validate(ExtractSection, {"input": {"bids": "x"}, "slices": rule}, "extract")
    with pytest.raises(VolumeError, match="'band' keeps no slice"):
        prepare_volume(candidate(store_as(tmp_path / "x.nii", data, affine)), section.preprocessing)


@pytest.mark.numerics
def test_prepared_travels_between_processes_and_is_deterministic(tmp_path):
    data, affine = phantom((4.0, 3.0, 5.0), (200, 231, 160))
    path = store_as(tmp_path / "x.nii.gz", data, affine)
    first, second = (pickle.loads(pickle.dumps(prepare_volume(candidate(path), LETTERBOX))) for _ in range(2))  # noqa: S301
    np.testing.assert_array_equal(first.images, second.images)
    assert first.draft.model_copy(update={"seconds": {}}) == second.draft.model_copy(update={"seconds": {}})
    assert set(first.draft.seconds) == {"read", "prepare"}


@pytest.mark.parametrize("rule", [{"kind": "every", "step_mm": 20}, {"kind": "uniform", "n": 7}])
def test_real_trees_prepare_whole_within_their_bounds(shared_data, rule):
    options = {"input": {"bids": "ds002748-2mm"}, "slices": rule}
    section = validate(ExtractSection, options, "extract")
    plan = plan_extraction(section.input, shared_data, section.preprocessing)
    for volume in plan.embeddable:
        prepared = prepare_volume(volume.candidate, section.preprocessing)
        assert 0 < len(prepared.images) <= volume.max_slices
        assert prepared.draft.foreground.kind == "stripped"
        assert 1100 < prepared.draft.foreground.millilitres < 1800
        assert prepared.draft.geometry.outside_field == 0
    assert len(plan.volumes) == 37


def test_real_heads_prepare_whole_by_manifest(shared_data, tmp_path):
    paths = sorted((shared_data / "ixi-2mm").glob("*.nii.gz"))
    lines = [f"{path.name[:6]},{path}" for path in paths]
    (tmp_path / "v.csv").write_text("participant_id,path\n" + "\n".join(lines) + "\n")
    section = validate(ExtractSection, {"input": {"manifest": "v.csv"}}, "extract")
    plan = plan_extraction(section.input, tmp_path, section.preprocessing)
    for volume in plan.embeddable:
        prepared = prepare_volume(volume.candidate, section.preprocessing)
        assert prepared.draft.foreground.kind == "head"
        assert prepared.draft.geometry.outside_field < 0.02
        centre = np.argwhere(prepared.row_weights @ prepared.mask[60] @ prepared.column_weights.T > 0.5).mean(
            axis=0
        )
        assert np.abs(centre - 111.5).max() < 20
    assert len(plan.volumes) == 10
