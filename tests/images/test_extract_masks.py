"""Brain masks among derivatives: found by entities or a pattern, held to the volume's own grid."""

import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import slicecache as sc
from cache_schema.common.errors import ConfigError, VolumeError
from cache_schema.common.pipeline_file import validate
from cache_schema.format.identity import VolumeKey
from cache_schema.store.reader import open_store
from extract.sources.bids import BidsInput, find_bids
from extract.sources.candidate import Candidate, bids_parts, entities_of, stem
from extract.volume.read import read_volume

SHAPE, SPACING = (31, 37, 25), 5.0


def place(root: Path, *names: str) -> None:
    """Empty files in the folders that their entities say."""
    for name in names:
        parts, _ = bids_parts(stem(Path(name)))
        folder = root / f"sub-{parts['sub']}" / (f"ses-{parts['ses']}" if "ses" in parts else "") / "anat"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def found(root: Path, **masks) -> dict[str, str]:
    """Key -> name of the mask, or the refusal."""
    given = {"derivatives": "masks", **masks}
    spec = validate(BidsInput, {"bids": str(root / "raw"), "masks": given}, "extract.input")
    return {
        str(each.key): each.foreground_path.name if each.foreground_path else each.refusal
        for each in find_bids(spec, root)[0]
    }


def test_masks_of_fmriprep_are_found_by_their_entities(tmp_path):
    place(
        tmp_path / "raw",
        "sub-01_T1w.nii.gz",
        "sub-02_ses-a_acq-x_run-1_T1w.nii.gz",
        "sub-02_ses-a_acq-x_run-2_T1w.nii.gz",
        "sub-02_ses-b_T1w.nii.gz",
        "sub-03_T1w.nii.gz",
    )
    place(
        tmp_path / "masks",
        "sub-01_desc-brain_mask.nii.gz",
        "sub-01_space-MNI152NLin2009cAsym_res-2_desc-brain_mask.nii.gz",
        "sub-01_task-rest_desc-brain_mask.nii.gz",
        "sub-01_label-GM_probseg.nii.gz",
        "sub-01_desc-aseg_dseg.nii.gz",
        "sub-02_ses-a_acq-x_desc-brain_mask.nii.gz",
        "sub-02_ses-a_acq-x_run-02_desc-brain_mask.nii.gz",
        "sub-02_ses-a_acq-y_run-1_desc-brain_mask.nii.gz",
        "sub-02_desc-brain_mask.nii.gz",
        "sub-03_space-MNI152NLin2009cAsym_desc-brain_mask.nii.gz",
    )
    told = found(tmp_path)
    assert told["sub-01/T1w"] == "sub-01_desc-brain_mask.nii.gz"
    assert told["sub-02/ses-a/acq-x_run-1_T1w"] == "sub-02_ses-a_acq-x_desc-brain_mask.nii.gz"
    assert told["sub-02/ses-a/acq-x_run-2_T1w"] == "sub-02_ses-a_acq-x_run-02_desc-brain_mask.nii.gz"
    assert "there is no brain mask *_desc-brain_mask for it" in told["sub-02/ses-b/T1w"]
    assert "those in MNI152NLin2009cAsym lie on other grids" in told["sub-03/T1w"]


def test_a_volume_in_a_template_has_that_templates_mask(tmp_path):
    place(tmp_path / "raw", "sub-01_space-MNI_desc-preproc_T1w.nii.gz")
    place(tmp_path / "masks", "sub-01_desc-brain_mask.nii.gz", "sub-01_space-MNI_desc-brain_mask.nii.gz")
    assert list(found(tmp_path).values()) == ["sub-01_space-MNI_desc-brain_mask.nii.gz"]


def test_names_of_synthstrip_and_hd_bet_by_a_pattern(tmp_path):
    place(tmp_path / "raw", "sub-01_ses-a_T1w.nii.gz", "sub-02_T1w.nii.gz")
    (tmp_path / "masks/sub-01/ses-a/anat").mkdir(parents=True)
    (tmp_path / "masks/sub-01/ses-a/anat/sub-01_ses-a_T1w_bet_mask.nii.gz").touch()
    told = found(tmp_path, pattern="{folder}/{name}_bet_mask.nii.gz")
    assert told["sub-01/ses-a/T1w"] == "sub-01_ses-a_T1w_bet_mask.nii.gz"
    assert "there is no brain mask sub-02_T1w_bet_mask.nii.gz for it in" in told["sub-02/T1w"]
    (tmp_path / "masks/sub-02.nii").touch()
    told = found(tmp_path, pattern="{participant}.nii", required=False)
    assert told == {"sub-01/ses-a/T1w": "", "sub-02/T1w": "sub-02.nii"}


def test_two_that_say_as_much_are_a_choice(tmp_path):
    place(tmp_path / "raw", "sub-01_T1w.nii.gz")
    place(tmp_path / "masks", "sub-01_desc-brain_mask.nii.gz", "sub-01_label-brain_mask.nii.gz")
    assert "2 brain masks are as likely meant" in found(tmp_path)["sub-01/T1w"]
    assert found(tmp_path, desc="bet")["sub-01/T1w"].startswith("there is no brain mask *_desc-bet_mask")


@pytest.mark.parametrize(
    ("masks", "said"),
    [
        ({"derivatives": "absent"}, "there is no folder"),
        ({"derivatives": "."}, "has no sub-\\* folder; it holds masks, raw: name one of these"),
        ({"pattern": "brain.nii.gz"}, "a pattern says which volume it is for"),
        ({"pattern": "{name.__class__}.nii"}, "a pattern says which volume it is for"),
        ({"pattern": "{name!r:>900}.nii"}, "a pattern says which volume it is for"),
        ({"pattern": "../{name}.nii"}, "leads out of"),
        ({"patern": "{name}.nii"}, "did you mean 'pattern'"),
    ],
)
def test_what_cannot_be_meant(tmp_path, masks, said):
    place(tmp_path / "raw", "sub-01_T1w.nii.gz")
    place(tmp_path / "masks", "sub-01_desc-brain_mask.nii.gz")
    with pytest.raises(ConfigError, match=said):
        found(tmp_path, **masks)


def head(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A bright shell around a brain, in noise, and the brain."""
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij"))
    radius = np.sqrt((grid**2).sum(axis=0))
    noise = np.random.default_rng(seed).uniform(0.8, 1.2, SHAPE)
    return (np.where(radius < 0.9, 300, 5) * noise).astype(np.float32), radius < 0.55


def save(path: Path, values: np.ndarray, affine=None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(values, np.diag([SPACING] * 3 + [1.0]) if affine is None else affine), path)
    return path


@pytest.fixture
def tree(tmp_path) -> Path:
    """Three heads: a mask on its grid, one in RAS+ of a head stored as PSR, and one of another grid."""
    for seed, who in enumerate(("sub-1", "sub-2", "sub-3")):
        values, brain = head(seed)
        image = nib.Nifti1Image(values, np.diag([SPACING] * 3 + [1.0]))
        if who == "sub-2":
            turn = nib.orientations.ornt_transform(
                nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt("PSR")
            )
            image = image.as_reoriented(turn)
        path = tmp_path / f"raw/{who}/anat/{who}_T1w.nii.gz"
        path.parent.mkdir(parents=True)
        nib.save(image, path)
        shown = brain[:, :, 1:] if who == "sub-3" else brain
        save(tmp_path / f"masks/{who}/anat/{who}_desc-brain_mask.nii.gz", shown.astype(np.uint8))
    return tmp_path


def extract(tree: Path, store: str, **masks):
    given = {"input": {"bids": str(tree / "raw"), **masks}, "backbone": {"kind": "untrained"}, "canvas": 28}
    return sc.extract(store=tree / store, workers=0, dtype="float32", **given)


def test_a_mask_is_the_foreground_and_another_grid_is_refused(tree):
    outcome = extract(tree, "masked.zarr", masks={"derivatives": str(tree / "masks")})
    (failure,) = outcome.failures
    assert failure.participant_id == "sub-3"
    assert "has the shape (31, 37, 24), the volume (31, 37, 25)" in failure.reason
    records = {record.participant_id: record for record in open_store(tree / "masked.zarr").records()}
    _, brain = head()
    for record in records.values():
        assert record.foreground.kind == "mask"
        assert record.foreground.millilitres == pytest.approx(brain.sum() * SPACING**3 / 1000)
    assert len(records) == 2
    assert len({record.slices.n_volume for record in records.values()}) == 1
    plain = extract(tree, "plain.zarr")
    assert (plain.embedded, plain.failed) == (3, 0)
    assert {record.foreground.kind for record in open_store(tree / "plain.zarr").records()} == {"head"}


def test_a_mask_that_need_not_be_there(tree):
    shutil.rmtree(tree / "masks/sub-1")
    masks = {"derivatives": str(tree / "masks")}
    said = {each.participant_id: each.reason for each in extract(tree, "a.zarr", masks=masks).failures}
    assert said.keys() == {"sub-1", "sub-3"}
    assert "masks.required: false takes the foreground of the whole head" in said["sub-1"]
    outcome = extract(tree, "a.zarr", masks={**masks, "required": False})
    assert (outcome.embedded, outcome.skipped, outcome.failed) == (1, 1, 1)
    kinds = {
        record.participant_id: record.foreground.kind for record in open_store(tree / "a.zarr").records()
    }
    assert kinds == {"sub-1": "head", "sub-2": "mask"}


def test_a_mask_that_came_later_is_a_change(tree):
    extract(tree, "later.zarr")
    outcome = extract(tree, "later.zarr", masks={"derivatives": str(tree / "masks")})
    assert outcome.skipped == 0
    assert all("foreground mask (none then) has changed" in each.reason for each in outcome.failures)


def test_every_corner_is_held_to_the_volumes(tmp_path):
    """Axes exchanged in a cube keep the first corner and the last."""
    cube = np.zeros((9, 9, 9), np.float32)
    cube[2:5, 3:8, 4:8] = np.arange(60).reshape(3, 5, 4)
    path = save(tmp_path / "v.nii", cube, np.eye(4))
    exchanged = np.eye(4)[[1, 0, 2, 3]]
    mask = save(tmp_path / "m.nii", (cube.transpose(1, 0, 2) > 0).astype(np.uint8), exchanged)
    volume = Candidate(VolumeKey("a", "", "T1w"), path, "v", entities_of({}, ""), foreground_path=mask)
    np.testing.assert_array_equal(read_volume(volume).mask > 0, cube > 0)
    tilted = np.eye(4)
    tilted[:3, :3] = [[0.7, 0.3, 0], [0, 0.7, 0.3], [0.3, 0, 0.7]]  # the first and the last corner stay
    save(mask, (cube > 0).astype(np.uint8), tilted)
    with pytest.raises(VolumeError, match=r"lies 2\.4 mm beside the volume"):
        read_volume(volume)
