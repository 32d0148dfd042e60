"""Volumes inside HDF5 files give what the same image file gives, or a sentence."""

from pathlib import Path

import h5py
import nibabel
import numpy as np
import pytest

from cache_schema.common.errors import ConfigError, VolumeError
from cache_schema.common.pipeline_file import validate
from extract.planning.config import ExtractSection
from extract.planning.plan import ExtractionPlan, plan_extraction
from extract.slices.prepare import prepare_volume
from extract.sources.candidate import Candidate
from extract.sources.cells import split_dataset
from extract.sources.manifest import ManifestInput, find_manifest

AFFINE = np.array([[0, 0, 2.0, -20], [-3, 0, 0, 40], [0, 4, 0, -50], [0, 0, 0, 1]])


@pytest.fixture
def voxels() -> np.ndarray:
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in (37, 31, 41)), indexing="ij"))
    return ((grid**2).sum(axis=0) < 0.6) * rng.integers(50, 200, grid.shape[1:]).astype(np.int16)


def write(path: Path, voxels: np.ndarray, **attributes) -> Path:
    with h5py.File(path, "a") as file:
        dataset = file.create_dataset("sub/t1", data=voxels, compression="gzip")
        dataset.attrs.update(attributes)
    return path


def candidates(folder: Path, *rows: str, columns: str = "participant_id,path") -> list[Candidate]:
    (folder / "volumes.csv").write_text("\n".join([columns, *rows]) + "\n")
    return find_manifest(validate(ManifestInput, {"manifest": "volumes.csv"}, "input"), folder)[0]


def section() -> ExtractSection:
    data = {"input": {"manifest": "volumes.csv"}, "backbone": {"kind": "untrained"}}
    return validate(ExtractSection, data, "extract")


def planned(section: ExtractSection, base: Path) -> ExtractionPlan:
    return plan_extraction(section.input, base, section.preprocessing)


def test_a_dataset_gives_what_its_image_gives(tmp_path, voxels):
    nibabel.save(nibabel.Nifti1Image(voxels, AFFINE), tmp_path / "t1.nii.gz")
    write(tmp_path / "scans.h5", voxels, affine=AFFINE)
    image, inside = candidates(tmp_path, "a,t1.nii.gz", "b,scans.h5:/sub/t1")
    a, b = (prepare_volume(each, section().preprocessing) for each in (image, inside))
    np.testing.assert_array_equal(a.images, b.images)
    np.testing.assert_array_equal(a.mask, b.mask)
    assert a.draft.geometry == b.draft.geometry
    assert b.draft.source.path == "scans.h5:/sub/t1"
    assert b.draft.source.bytes == (tmp_path / "scans.h5").stat().st_size
    assert str(inside.key) == "b/scans_sub_t1"
    plan = planned(section(), tmp_path)
    assert [(each.shape, each.max_slices) for each in plan.embeddable] == [((37, 31, 41), 31)] * 2


def test_codes_and_sizes_from_attributes_or_the_manifest_agree(tmp_path, voxels):
    write(tmp_path / "said.h5", voxels, orientation="PSR", spacing_mm=[3.0, 4, 2])
    write(tmp_path / "silent.h5", voxels)
    both = candidates(
        tmp_path,
        "a,said.h5:/sub/t1,,",
        "b,silent.h5:sub/t1,psr,3x4x2",
        columns="participant_id,path,orientation,spacing_mm",
    )
    a, b = (prepare_volume(each, section().preprocessing) for each in both)
    np.testing.assert_array_equal(a.images, b.images)
    assert a.draft.geometry == b.draft.geometry
    assert (a.draft.geometry.orientation, a.draft.geometry.spacing_mm) == ("PSR", (3.0, 4.0, 2.0))


@pytest.mark.parametrize(
    ("attributes", "sentence"),
    [
        ({}, "does not say its orientation"),
        ({"orientation": "RAR", "spacing_mm": [1, 1, 1]}, "does not say its orientation"),
        ({"orientation": "RAS"}, "does not say its voxel sizes"),
        ({"orientation": "RAS", "spacing_mm": [1, 1]}, "three positive numbers"),
        ({"orientation": "RAS", "spacing_mm": [1, 1, 0]}, "three positive numbers"),
        ({"orientation": "RAS", "spacing_mm": "1x1x1"}, "must be numbers"),
        ({"affine": [1.0, 2.0]}, "4 x 4 numbers"),
        ({"affine": np.zeros((4, 4))}, "not invertible"),
    ],
)
def test_what_is_not_said_is_asked_for(tmp_path, voxels, attributes, sentence):
    write(tmp_path / "x.h5", voxels, **attributes)
    (found,) = candidates(tmp_path, "a,x.h5:/sub/t1")
    with pytest.raises(VolumeError, match=sentence):
        prepare_volume(found, section().preprocessing)
    assert sentence in str(planned(section(), tmp_path).refused[0].refusal)


def test_other_things_get_a_sentence_each(tmp_path, voxels):
    write(tmp_path / "x.h5", voxels, affine=AFFINE)
    with h5py.File(tmp_path / "x.h5", "a") as file:
        file["flat"] = np.zeros((3, 5))
        file["words"] = "no numbers"
        file["empty"] = h5py.Empty("f")
        file["pairs"] = np.zeros((3, 5, 7), dtype=[("a", "f4"), ("b", "f4")])
    whole = (tmp_path / "x.h5").read_bytes()
    (tmp_path / "cut.h5").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.h5").write_text("not HDF5")
    wanted = {
        "x.h5:/sub/t2": "there is no dataset '/sub/t2' in 'x.h5', which has /empty, /flat, /pairs, /sub/t1",
        "x.h5:/sub": "there is no dataset '/sub'",
        "x.h5:/flat": "2D",
        "x.h5:/words": "voxels of type",
        "x.h5:/empty": "empty",
        "x.h5:/pairs": "colour voxels",
        "x.h5": "name the dataset inside it, e.g. x.h5:/DATASET",
        "cut.h5:/sub/t1": "not a readable HDF5 file",
        "text.h5:/sub/t1": "not a readable HDF5 file",
        "gone.h5:/sub/t1": "there is no file",
    }
    candidates(tmp_path, *(f"p{index},{path}" for index, path in enumerate(wanted)))
    refused = planned(section(), tmp_path).refused
    assert len(refused) == len(wanted)
    for volume, sentence in zip(refused, wanted.values(), strict=True):
        assert sentence in str(volume.refusal)
        assert len(str(volume.refusal).splitlines()) == 1


def test_cells():
    assert split_dataset("a/b.h5:/x/y") == ("a/b.h5", "/x/y")
    assert split_dataset("C:/a.HDF5:x/") == ("C:/a.HDF5", "/x")
    assert split_dataset("a/b.nii.gz") == ("a/b.nii.gz", "")
    assert split_dataset("a/b.h5") == ("a/b.h5", "")


def test_wrong_sizes_in_a_manifest_are_a_mistake(tmp_path):
    for text in ("1x1", "1x1x0", "one", "1x1xnan"):
        with pytest.raises(ConfigError, match="three sizes such as"):
            candidates(
                tmp_path, f"a,x.h5:/t,RAS,{text}", columns="participant_id,path,orientation,spacing_mm"
            )


def elsewhere(path: Path, voxels: np.ndarray, how: str) -> None:
    """A dataset `t1` whose numbers lie in another file, or behind a link."""
    with h5py.File(path.parent / "other.h5", "w") as other:
        other["t1"] = voxels
    with h5py.File(path, "w") as file:
        if how == "an external link":
            file["t1"] = h5py.ExternalLink("other.h5", "/t1")
        elif how == "a soft link":
            file["own"] = voxels
            file["t1"] = h5py.SoftLink("/own")
        elif how == "external storage":
            voxels.tofile(path.parent / "other.raw")
            file.create_dataset("t1", voxels.shape, voxels.dtype, external=[("other.raw", 0, voxels.nbytes)])
        else:
            layout = h5py.VirtualLayout(voxels.shape, voxels.dtype)
            layout[...] = h5py.VirtualSource("other.h5", "t1", voxels.shape)
            file.create_virtual_dataset("t1", layout)


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("an external link", "behind an external link"),
        ("a soft link", "behind a soft link"),
        ("external storage", "keeps its numbers in another file"),
        ("a virtual dataset", "is a virtual one"),
    ],
)
def test_numbers_that_lie_elsewhere_are_refused(tmp_path, voxels, how, says):
    elsewhere(tmp_path / "scans.h5", voxels, how)
    (candidate,) = candidates(
        tmp_path, "a,scans.h5:/t1,RAS,1x1x1", columns="participant_id,path,orientation,spacing_mm"
    )
    with pytest.raises(VolumeError, match=says):
        prepare_volume(candidate, section().preprocessing)


def test_a_header_that_says_more_than_its_file_can_hold_is_refused_when_it_is_planned(tmp_path):
    with h5py.File(tmp_path / "huge.h5", "w") as file:
        dataset = file.create_dataset("t1", (4096, 4096, 4096), "f4", chunks=(64, 64, 64), compression="gzip")
        dataset.attrs["affine"] = AFFINE
        file["words"] = np.zeros((3, 4, 5))
        file["words"].attrs.update(orientation=["RAS"] * 3, spacing_mm=np.zeros(1000))
    candidates(tmp_path, "a,huge.h5:/t1", "b,huge.h5:/words")
    huge, words = planned(section(), tmp_path).refused
    assert "cannot hold 274877906944 bytes of image" in str(huge.refusal)
    assert "does not say its orientation" in str(words.refusal)
