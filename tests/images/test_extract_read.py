"""Reading: exact numbers, and one sentence for everything that is no usable volume."""

import gzip
import os
from pathlib import Path

import nibabel
import numpy as np
import pytest

from cache_schema.common.errors import VolumeError
from cache_schema.format.identity import VolumeKey
from cache_schema.format.record import Entities
from extract.slices.prepare import prepare_volume
from extract.slices.presets import PRESETS
from extract.sources.candidate import Candidate
from extract.volume.read import read_foreground_mask, read_volume, scale_voxels, without_nan


def candidate(path: Path, **more) -> Candidate:
    return Candidate(VolumeKey("p", "", "v"), path, path.name, Entities(), **more)


def write(path: Path, data: np.ndarray, affine=None, codes=(1, 1), slope=None) -> Path:
    image = nibabel.Nifti1Image(data, np.diag([2.0, 2.5, 3.0, 1]) if affine is None else affine)
    image.set_qform(image.affine, codes[0])
    image.set_sform(image.affine, codes[1])
    if slope is not None:
        image.header.set_slope_inter(*slope)
    nibabel.save(image, path)
    return path


GENERATOR = np.random.default_rng(5)
GOOD = GENERATOR.integers(0, 1000, (11, 13, 7)).astype(np.int16)


@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u2", "i4", "f4", "f8", ">i2", ">f4"])
@pytest.mark.parametrize("slope", [(1.0, 0.0), (0.7310585786300049, -12.25)])
def test_scaling_is_float64_rounded_once(tmp_path, dtype, slope):
    stored = GENERATOR.integers(-100 if dtype[-2] in "if" else 0, 100, (5, 7, 3)).astype(dtype)
    image = nibabel.Nifti1Image(stored, np.eye(4), dtype=stored.dtype)
    image.header.set_data_dtype(stored.dtype)
    path = tmp_path / "x.nii"
    nibabel.save(image, path)
    raw = nibabel.load(path)
    raw.dataobj._slope, raw.dataobj._inter = slope
    for dtype_out in (np.float32, np.float64):
        expected = (stored.astype(np.float64) * slope[0] + slope[1]).astype(dtype_out)
        ours = scale_voxels(raw.dataobj, np.dtype(dtype_out))
        assert ours.dtype == dtype_out
        np.testing.assert_array_equal(ours, expected)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.mgz", "a.img"])
def test_formats_give_one_volume(tmp_path, name):
    if name == "a.mgz":
        nibabel.save(nibabel.MGHImage(GOOD, np.diag([2.0, 2.5, 3.0, 1])), tmp_path / name)
    elif name == "a.img":
        nibabel.save(nibabel.Nifti1Pair(GOOD, np.diag([2.0, 2.5, 3.0, 1])), tmp_path / name)
    else:
        write(tmp_path / name, GOOD)
    volume = read_volume(candidate(tmp_path / name))
    np.testing.assert_array_equal(volume.data, GOOD)
    assert volume.data.dtype == np.float32
    assert volume.facts.orientation == "RAS"
    assert volume.facts.spacing_mm == pytest.approx((2, 2.5, 3))
    assert volume.facts.warnings == ()
    assert len(volume.source.sha256) == 64


def test_nifti2_and_a_trailing_axis_of_one_are_read(tmp_path):
    nibabel.save(nibabel.Nifti2Image(GOOD[..., None], np.eye(4)), tmp_path / "x.nii")
    np.testing.assert_array_equal(read_volume(candidate(tmp_path / "x.nii")).data, GOOD)


def test_nan_in_part_becomes_background_and_is_counted(tmp_path):
    data = GOOD.astype(np.float32)
    data[:3] = np.nan
    data[4, 0, 0] = np.inf
    volume = read_volume(candidate(write(tmp_path / "x.nii", data)))
    assert volume.nan_voxels == 3 * 13 * 7 + 1
    assert (volume.data[:3] == 0).all()
    filled, _ = without_nan(np.array([[[np.nan, -5.0, 3.0]]]))
    assert filled[0, 0, 0] == -5.0


def broken_files(folder: Path) -> dict[str, tuple[Path, str]]:
    """Name -> a file and the words its sentence must hold."""
    good = write(folder / "good.nii.gz", GOOD).read_bytes()
    made: dict[str, tuple[Path, str]] = {}

    def put(name: str, content: bytes, words: str) -> None:
        (folder / name).write_bytes(content)
        made[name] = (folder / name, words)

    put("empty.nii.gz", b"", "0 bytes")
    put("lfs.nii.gz", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "git lfs pull")
    put("annex.nii.gz", b"../../.git/annex/objects/aa/bb/key", "datalad get")
    put("truncated.nii.gz", good[: len(good) // 2], "cut short or damaged")
    put("dicom.nii", b"\0" * 128 + b"DICM" + b"\0" * 400, "dcm2niix")
    put("text.nii", b"hello " * 100, "not a readable image")
    put("header.nii", gzip.decompress(good)[:352], "header without its voxels")
    put("hdf.h5", b"\x89HDF\r\n\x1a\n" + b"\0" * 200, "HDF5")
    made["missing"] = (folder / "missing.nii", "there is no file")
    made["folder"] = (folder, "dcm2niix")
    os.symlink(folder / "gone", folder / "link.nii.gz")
    made["link"] = (folder / "link.nii.gz", "git-annex")
    nibabel.save(nibabel.Nifti1Pair(GOOD, np.eye(4)), folder / "pair.hdr")
    (folder / "pair.img").unlink()
    made["pair"] = (folder / "pair.hdr", "'pair.img'")
    return made


def unusable_arrays() -> dict[str, tuple[np.ndarray, str]]:
    """Name -> voxels and the words of the sentence."""
    colour = np.zeros((5, 6, 7), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    return {
        "4d": (np.zeros((5, 6, 7, 20), dtype=np.int16), "4D with 20 volumes"),
        "5d": (np.zeros((5, 6, 7, 1, 3), dtype=np.int16), "5D with 3 volumes"),
        "2d": (np.zeros((50, 60), dtype=np.int16), "2D"),
        "rgb": (colour, "colour"),
        "complex": (GOOD.astype(np.complex64), "magnitude"),
        "nan": (np.full((5, 6, 7), np.nan, dtype=np.float32), "no voxel is finite"),
        "constant": (np.full((5, 6, 7), 7, dtype=np.int16), "every voxel is 7"),
    }


@pytest.mark.parametrize("name", sorted(unusable_arrays()))
def test_voxels_that_are_no_volume_are_refused(tmp_path, capfd, name):
    array, words = unusable_arrays()[name]
    path = write(tmp_path / "x.nii.gz", array)
    with pytest.raises(VolumeError, match=words) as refusal:
        prepare_volume(candidate(path), PRESETS["letterbox"])
    assert "\n" not in str(refusal.value)
    assert capfd.readouterr() == ("", "")


def test_files_that_are_no_image_are_refused_in_one_line_each(tmp_path, capfd):
    for name, (path, words) in broken_files(tmp_path).items():
        with pytest.raises(VolumeError, match=words) as refusal:
            read_volume(candidate(path))
        assert "\n" not in str(refusal.value), name
    assert capfd.readouterr() == ("", "")


def test_orientation_must_be_known_or_stated(tmp_path):
    path = write(tmp_path / "x.nii.gz", GOOD, codes=(0, 0))
    with pytest.raises(VolumeError, match="neither qform nor sform"):
        read_volume(candidate(path))
    stated = read_volume(candidate(path, orientation="PSR")).facts
    assert stated.orientation == "PSR"
    assert nibabel.aff2axcodes(stated.affine) == ("P", "S", "R")
    assert stated.spacing_mm == pytest.approx((2, 2.5, 3))
    allowed = read_volume(candidate(path), allow_unknown_orientation=True).facts
    assert allowed.orientation == "unknown"
    assert "unknown orientation taken as" in allowed.warnings[0]


def test_analyze_has_no_orientation(tmp_path):
    nibabel.save(nibabel.AnalyzeImage(GOOD, np.eye(4)), tmp_path / "x.img")
    with pytest.raises(VolumeError, match="orientation"):
        read_volume(candidate(tmp_path / "x.img"))


def test_a_stated_orientation_overrules_the_header_with_a_warning(tmp_path):
    facts = read_volume(candidate(write(tmp_path / "x.nii", GOOD), orientation="LAS")).facts
    assert facts.orientation == "LAS"
    assert "the header says RAS" in facts.warnings[0]


def test_oblique_and_disagreeing_forms_are_warnings(tmp_path):
    angle = np.radians(15)
    affine = np.eye(4)
    affine[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    image = nibabel.Nifti1Image(GOOD, affine)
    image.set_sform(affine, 2)
    image.set_qform(np.diag([1.0, 1, 1, 1]), 1)
    nibabel.save(image, tmp_path / "x.nii")
    facts = read_volume(candidate(tmp_path / "x.nii")).facts
    assert facts.oblique_degrees == pytest.approx(15)
    assert any("oblique by 15 degrees" in note for note in facts.warnings)
    assert any("qform and sform disagree" in note for note in facts.warnings)


def test_a_singular_affine_is_refused(tmp_path):
    path = write(tmp_path / "x.nii", GOOD)
    image = nibabel.load(path)
    image.header["srow_x"] = 0
    nibabel.Nifti1Image(GOOD, None, image.header).to_filename(tmp_path / "y.nii")
    with pytest.raises(VolumeError, match="not invertible"):
        read_volume(candidate(tmp_path / "y.nii"))


def test_masks_must_lie_on_the_volumes_grid(tmp_path):
    volume = candidate(write(tmp_path / "x.nii", GOOD))
    facts = read_volume(volume).facts
    good = write(tmp_path / "good.nii", (GOOD > 500).astype(np.uint8))
    np.testing.assert_array_equal(read_foreground_mask(good, volume, facts) > 0, GOOD > 500)
    shifted = np.diag([2.0, 2.5, 3.0, 1])
    shifted[0, 3] = 20
    with pytest.raises(VolumeError, match=r"20\.0 mm beside"):
        read_foreground_mask(write(tmp_path / "s.nii", GOOD, shifted), volume, facts)
    with pytest.raises(VolumeError, match="has the shape"):
        read_foreground_mask(write(tmp_path / "t.nii", GOOD[:4]), volume, facts)
    with pytest.raises(VolumeError, match=r"the foreground mask 'none\.nii'.*there is no file"):
        read_foreground_mask(tmp_path / "none.nii", volume, facts)


ODD = {
    "anatomical.nii": None,
    "complex.nii.gz": "complex voxels",
    "ct_perfusion.nii.gz": "colour voxels",
    "example4d.nii.gz": "4D with 2 volumes",
    "example_nifti2.nii.gz": "4D with 2 volumes",
    "functional.nii": "4D with 20 volumes",
    "lfs_pointer_CC200.nii.gz": "git lfs pull",
    "low_res.nii.gz": "5 cm2 of foreground",
    "minimal.nii.gz": "neither qform nor sform",
    "nifti1.hdr": r"no 'nifti1\.img'",
    "niworkflows_bold.nii.gz": "0 bytes",
    "niworkflows_boldref.nii": "header without its voxels",
    "niworkflows_sub-pixar008_desc-preproc_T1w.nii.gz": "header without its voxels",
    "ras.hdr": None,
    "ras.img": None,
    "resampled_anat_moved.nii": None,
    "shear.nii.gz": None,
    "standard.nii.gz": "5 cm2 of foreground",
}
"""Every file of the odd ones: None where it is accepted, else words of its sentence."""


def test_every_odd_file_is_accepted_or_has_its_sentence(shared_data, capfd):
    files = sorted((shared_data / "odd").iterdir())
    assert [path.name for path in files] == sorted(ODD)
    for path in files:
        words = ODD[path.name]
        if words is None:
            prepared = prepare_volume(candidate(path), PRESETS["letterbox"])
            assert len(prepared.images) == len(prepared.draft.slices.index) > 0
        else:
            with pytest.raises(VolumeError, match=words):
                prepare_volume(candidate(path), PRESETS["letterbox"])
    assert capfd.readouterr() == ("", "")
