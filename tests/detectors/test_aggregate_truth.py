"""Lesion masks: found by name or column, on the volume's grid or refused."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
from made_up_store import example_draft

from aggregate.anomaly.maps.nifti import read_lesion_mask
from aggregate.anomaly.maps.placement import placement
from aggregate.anomaly.measure.truth import bids_truth, column_truth, lesion_slices
from cache_schema.common.errors import SlicecacheError
from cache_schema.format.identity import VolumeKey
from cache_schema.format.record import VolumeRecord

AFFINE = np.diag([2.0, 2.0, 3.0, 1.0])
SHAPE = (20, 30, 9)


def record(path: str = "sub-01/anat/sub-01_T1w.nii.gz", participant: str = "sub-01") -> VolumeRecord:
    base = example_draft(VolumeKey(participant, "", "T1w"), 5)
    affine = tuple(tuple(row) for row in AFFINE.tolist())
    more = {"native_shape": SHAPE, "affine": affine, "spacing_mm": (2.0, 2.0, 3.0), "canvas": (28, 28)}
    draft = base.model_copy(
        update={
            "geometry": base.geometry.model_copy(update=more),
            "source": base.source.model_copy(update={"path": path}),
        }
    )
    return VolumeRecord(**draft.model_dump(), row=0, tokens={}, digest="0" * 64)


def save(path: Path, values=None, affine=AFFINE, code: int = 1) -> Path:
    data = np.zeros(SHAPE, np.uint8) if values is None else values
    image = nibabel.Nifti1Image(data, affine)
    image.set_sform(affine if code else None, code=code)
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(image, path)
    return path


def one_voxel(dtype=np.uint8, value=1) -> np.ndarray:
    data = np.zeros(SHAPE, dtype)
    data[3, 5, 4] = value
    return data


@pytest.mark.parametrize(
    "name",
    [
        "sub-01/anat/sub-01_label-lesion_mask.nii.gz",
        "sub-01/anat/sub-01_mod-T1w_label-lesion_desc-manual_mask.nii",
        "derivatives/lesions/sub-01/anat/sub-01_label-lesion_mask.nii.gz",
    ],
)
def test_masks_are_found_by_name(tmp_path, name):
    mask = save(tmp_path / name, one_voxel())
    truth = bids_truth([record()], tmp_path)
    assert truth.masks == {record().key: mask}
    assert np.argwhere(truth.read(record())).tolist() == [[3, 5, 4]]


@pytest.mark.parametrize(
    "name",
    [
        "sub-01/anat/sub-01_label-brain_mask.nii.gz",
        "sub-01/anat/sub-01_mod-T2w_label-lesion_mask.nii.gz",
        "sub-01/anat/sub-01_run-2_label-lesion_mask.nii.gz",
        "sub-01/anat/sub-01_label-lesion_probseg.nii.gz",
        "sub-02/anat/sub-02_label-lesion_mask.nii.gz",
    ],
)
def test_masks_of_others_are_not_taken(tmp_path, name):
    save(tmp_path / name)
    truth = bids_truth([record()], tmp_path)
    assert not truth.masks
    with pytest.raises(SlicecacheError, match="not known to be free of lesions"):
        truth.read(record())


def test_an_image_with_a_desc_and_a_session_finds_its_mask(tmp_path):
    save(tmp_path / "sub-01/ses-2/anat/sub-01_ses-2_run-1_label-lesion_mask.nii.gz", one_voxel())
    path = "sub-01/ses-2/anat/sub-01_ses-2_run-1_desc-preproc_T1w.nii.gz"
    assert bids_truth([record(path)], tmp_path).masks


def test_two_masks_are_a_question(tmp_path):
    save(tmp_path / "sub-01/anat/sub-01_label-lesion_mask.nii.gz")
    save(tmp_path / "derivatives/b/sub-01/anat/sub-01_label-lesion_mask.nii.gz")
    with pytest.raises(SlicecacheError, match="2 lesion masks"):
        bids_truth([record()], tmp_path)
    with pytest.raises(SlicecacheError, match="not a folder"):
        bids_truth([record()], tmp_path / "nowhere")


def test_only_the_known_healthy_are_free_of_lesions(tmp_path):
    ours = record()
    truth = bids_truth([ours], tmp_path, healthy=[ours.key])
    assert truth.known(ours.key)
    assert not truth.read(ours).any()
    save(tmp_path / "sub-01/anat/sub-01_label-lesion_mask.nii.gz", one_voxel())
    assert bids_truth([ours], tmp_path, healthy=[ours.key]).read(ours).sum() == 1


def test_a_column_names_masks(tmp_path):
    save(tmp_path / "m" / "a.nii.gz", one_voxel())
    other = VolumeKey("sub-02", "", "T1w")
    truth = column_truth({record().key: "m/a.nii.gz", other: "  "}, tmp_path)
    assert truth.read(record()).sum() == 1
    assert not truth.known(other)
    with pytest.raises(SlicecacheError, match=r"not there: 'b.nii.gz'"):
        column_truth({record().key: "m/b.nii.gz"}, tmp_path)


def test_another_grid_is_refused_in_a_sentence(tmp_path):
    with pytest.raises(SlicecacheError, match=r"shape \(20, 30, 8\), the volume \(20, 30, 9\)"):
        read_lesion_mask(save(tmp_path / "a.nii", np.zeros((20, 30, 8), np.uint8)), record())
    beside = AFFINE.copy()
    beside[0, 3] = 1.2
    with pytest.raises(SlicecacheError, match=r"1\.2 mm beside"):
        read_lesion_mask(save(tmp_path / "b.nii", affine=beside), record())
    flipped = AFFINE @ np.diag([-1, 1, 1, 1])
    with pytest.raises(SlicecacheError, match="beside"):
        read_lesion_mask(save(tmp_path / "c.nii", affine=flipped), record())
    near = AFFINE.copy()
    near[0, 3] = 0.9
    assert not read_lesion_mask(save(tmp_path / "d.nii", affine=near), record()).any()
    # A mask without codes has no place of its own.
    assert not read_lesion_mask(save(tmp_path / "e.nii", affine=flipped, code=0), record()).any()


def test_values_of_half_and_more_are_lesion_and_nan_is_refused(tmp_path):
    values = one_voxel(np.float32, 0.5)
    values[0, 0, 0] = 0.49
    assert read_lesion_mask(save(tmp_path / "a.nii", values), record()).sum() == 1
    values[1, 1, 1] = np.nan
    with pytest.raises(SlicecacheError, match="NaN"):
        read_lesion_mask(save(tmp_path / "b.nii", values), record())
    (tmp_path / "c.nii").write_bytes(b"")
    with pytest.raises(SlicecacheError, match="cannot be read"):
        read_lesion_mask(tmp_path / "c.nii", record())
    assert read_lesion_mask(save(tmp_path / "d.nii", one_voxel()[..., None]), record()).sum() == 1


def test_slices_with_a_lesion(tmp_path):
    ours = record()
    place = placement(ours, (2, 2))
    found = lesion_slices(one_voxel() > 0, place)
    assert np.array(ours.slices.index)[found].tolist() == [4]
