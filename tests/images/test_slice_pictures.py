"""A slice as a page shows it: left is where nibabel says, the outline at the mask, the map in its place."""

import re
from pathlib import Path

import nibabel
import numpy as np
import pytest
from nibabel.affines import apply_affine
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, ornt_transform

from aggregate.anomaly.maps.canvas import Sides, canvas_map, canvas_slice, sides
from aggregate.anomaly.maps.nifti import nifti_bytes, read_voxels
from aggregate.anomaly.maps.placement import native_map, placement
from aggregate.report.figures.images.slices import SlicePicture, grey_of, heat_colours, slice_svg
from cache_schema.common.errors import SlicecacheError
from cache_schema.format.identity import VolumeKey
from cache_schema.format.record import Entities, SourceFile, VolumeRecord
from extract.slices.prepare import prepare_volume
from extract.slices.preprocessing import StepOverrides
from extract.slices.presets import preprocessing_of
from extract.slices.preview import column_sides
from extract.sources.candidate import Candidate

EVERY_10 = StepOverrides.model_validate({"slices": {"kind": "every", "step_mm": 10}})
TURNED = np.array([[0.97, -0.17, 0.17, 0], [0.2, 0.96, -0.17, 0], [-0.13, 0.2, 0.97, 0], [0, 0, 0, 1]])
"""About ten degrees around every axis."""


def scan(path: Path, codes: str = "RAS", turn: np.ndarray | None = None) -> tuple[Path, np.ndarray]:
    """A stripped head with a bright blob left, in front and above the middle; where both are."""
    spacing, shape = np.array([4.0, 3.0, 5.0]), (44, 62, 28)
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = -(np.array(shape) - 1) / 2 * spacing
    grid = apply_affine(affine, np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1))
    radius = np.linalg.norm(grid / (66, 84, 60), axis=-1)
    blob = np.array([-32.0, 40.0, 18.0])
    data = np.where(radius <= 1, 400.0 + grid[..., 2], 0.0)
    data[np.linalg.norm(grid - blob, axis=-1) <= 9] = 1500.0
    turn = np.eye(4) if turn is None else turn
    ornt = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(codes))
    image = nibabel.Nifti1Image(
        apply_orientation(data, ornt).astype(np.int16), turn @ affine @ inv_ornt_aff(ornt, shape)
    )
    nibabel.save(image, path)
    return path, apply_affine(turn, blob)


def record_of(path: Path) -> VolumeRecord:
    """As extraction would keep it."""
    candidate = Candidate(VolumeKey("p", "", "T1w"), path, path.name, Entities(contrast="T1w"))
    draft = prepare_volume(candidate, preprocessing_of("letterbox", EVERY_10)).draft
    return VolumeRecord(**draft.model_dump(), row=0, tokens={}, digest="0" * 64)


@pytest.mark.parametrize(
    ("codes", "turn"),
    [
        ("RAS", None),
        ("LPS", None),
        ("LAS", None),
        ("PSR", None),
        ("IPL", None),
        ("LPS", TURNED),
        ("ASL", TURNED),
    ],
)
def test_letters_and_pixels_agree_with_nibabel(tmp_path, codes, turn):
    path, blob = scan(tmp_path / "x.nii.gz", codes, turn)
    record = record_of(path)
    image = nibabel.load(path)
    assert "".join(nibabel.aff2axcodes(image.affine)) == codes  # the file is what the test says
    voxels = read_voxels(record, tmp_path)
    shown = [canvas_slice(voxels, record, place) for place in range(len(record.slices.index))]
    place = int(np.argmax([slice_.max() for slice_ in shown]))
    row, column = np.argwhere(shown[place] > 1000).mean(axis=0)
    middle_row, middle_column = np.argwhere(shown[place] > 100).mean(axis=0)
    found = sides(record.geometry)
    # Of the canonical (RAS+) image: left is where its first index falls, front where its second rises.
    canonical = nibabel.as_closest_canonical(image)
    values = canonical.get_fdata()
    first, second, _ = np.argwhere(values > 1000).mean(axis=0) - np.argwhere(values > 100).mean(axis=0)
    assert (found.left == "L") == ((column < middle_column) == (first < 0))
    assert (found.top == "A") == ((row < middle_row) == (second > 0))
    assert set(found[:2]) == {"L", "R"}
    assert set(found[2:]) == {"A", "P"}
    assert found[:2] == column_sides(record.geometry)
    # And the blob is where its world place is.
    native = np.array(record.geometry.canvas_to_native) @ [row, column, record.slices.index[place], 1]
    np.testing.assert_allclose(apply_affine(image.affine, native), blob, atol=8)


def test_a_file_that_does_not_say_its_orientation_has_no_letters(tmp_path):
    record = record_of(scan(tmp_path / "x.nii.gz")[0])
    unknown = record.geometry.model_copy(update={"orientation": "unknown"})
    assert sides(unknown) == Sides("", "", "", "")
    picture = SlicePicture(unknown.canvas, unknown.pixel_mm, sides(unknown), None)
    assert 'class="side"' not in slice_svg(picture, "a slice")


def test_the_outline_encloses_the_mask_and_nothing_else(tmp_path):
    mask = np.zeros((40, 30), dtype=bool)
    mask[10:14, 5:12] = True
    picture = SlicePicture((40, 30), (2.0, 1.5), Sides("L", "R", "A", "P"), None, truth=mask)
    svg = slice_svg(picture, "a slice")
    (path,) = re.findall(r'class="truth" d="([^"]+)"', svg)
    points = np.array([[float(n) for n in pair.split()] for pair in re.split("[ML]", path) if pair])
    # x along columns of 1.5 mm, y along rows of 2 mm; at the pixels' edges or half a pixel within.
    np.testing.assert_allclose(points.min(axis=0), [5 * 1.5, 10 * 2.0], atol=0.1)
    np.testing.assert_allclose(points.max(axis=0), [12 * 1.5, 14 * 2.0], atol=0.1)
    assert 'viewBox="0 0 45 80"' in svg


def test_the_map_on_the_canvas_is_the_map_of_the_nifti(tmp_path):
    record = record_of(scan(tmp_path / "x.nii.gz", "LPS")[0])
    tokens = np.random.default_rng(0).random((len(record.slices.index), 6, 9)).astype(np.float32)
    native = native_map(tokens, placement(record, (6, 9), 4.0))
    again = canvas_slice(native, record, 3)
    own = canvas_map(tokens[3], record.geometry.canvas, 4.0)
    inside = again > 0
    assert inside.mean() > 0.4
    assert np.abs(again - own)[inside].mean() < 0.01


def test_colours_begin_at_the_threshold():
    colours = heat_colours(np.array([[0.0, 1.0, 1.5, 9.0]]), 1.0, 2.0)
    assert colours[0, :2, 3].max() == 0
    assert colours[0, 2, 3] > 0.5
    assert colours[0, 3, :3].sum() > colours[0, 2, :3].sum()


def test_grey_is_between_the_record_s_quantiles():
    grey = grey_of(
        np.array([[-5.0, 3.0, 436.5, 870.0, 9e9]], dtype=np.float32), {"q0.5": 3.0, "q99.5": 870.0}
    )
    np.testing.assert_allclose(grey, [[0, 0, 0.5, 1, 1]])


def test_only_the_image_that_was_embedded_is_shown(tmp_path):
    path, _ = scan(tmp_path / "x.nii.gz")
    record = record_of(path)
    assert read_voxels(record, tmp_path).shape == (44, 62, 28)
    for source, root, why in (
        (record.source, None, "not where it was"),
        (record.source, tmp_path / "elsewhere", "not where it was"),
        (SourceFile(path="", bytes=0, mtime_ns=0, sha256="0" * 64), tmp_path, "does not say where"),
        (
            SourceFile(path="../x.nii.gz", bytes=0, mtime_ns=0, sha256="0" * 64),
            tmp_path,
            "does not say where",
        ),
        (SourceFile(path=str(path), bytes=0, mtime_ns=0, sha256="0" * 64), tmp_path, "does not say where"),
        (record.source.model_copy(update={"sha256": "1" * 64}), tmp_path, "has changed"),
    ):
        other = record.model_copy(update={"source": source})
        with pytest.raises(SlicecacheError, match=why) as caught:
            read_voxels(other, root)
        assert str(tmp_path) not in str(caught.value)


def test_an_image_for_the_viewer_has_the_geometry_and_no_words_of_the_original(tmp_path):
    path, _ = scan(tmp_path / "x.nii.gz", "LPS", TURNED)
    record = record_of(path)
    steps = np.arange(np.prod(record.geometry.native_shape), dtype=np.uint64).reshape(
        record.geometry.native_shape
    )
    made = nifti_bytes((steps % 256).astype(np.uint8), record, 0.5, -3.0)
    assert made == nifti_bytes((steps % 256).astype(np.uint8), record, 0.5, -3.0)
    (tmp_path / "y.nii.gz").write_bytes(made)
    image = nibabel.load(tmp_path / "y.nii.gz")
    np.testing.assert_allclose(image.affine, nibabel.load(path).affine, atol=1e-4)
    np.testing.assert_allclose(image.get_fdata(), (steps % 256) * 0.5 - 3.0)
    assert bytes(image.header["descrip"]).strip(b"\0") == b""
