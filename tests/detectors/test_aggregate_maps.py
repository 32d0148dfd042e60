"""Anomaly maps as files: the image's geometry bit for bit, and names that tell volumes apart."""

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest

from aggregate.anomaly.maps.maps import describe_maps, map_name, volume_entities, write_volume_map
from aggregate.anomaly.maps.nifti import read_lesion_mask, source_image, write_map
from cache_schema.common.errors import SlicecacheError
from cache_schema.format.identity import VolumeKey
from cache_schema.format.record import Entities, VolumeRecord
from extract.slices.prepare import prepare_volume
from extract.slices.preprocessing import StepOverrides
from extract.slices.presets import preprocessing_of
from extract.sources.candidate import Candidate

NAME = "sub-01/anat/sub-01_T1w.nii.gz"


def head(shape=(31, 37, 23)) -> np.ndarray:
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij"))
    return ((grid**2).sum(axis=0) < 0.6) * np.random.default_rng(0).uniform(50, 200, shape).astype(np.float32)


def oblique() -> np.ndarray:
    angle = np.deg2rad(7)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    return nibabel.affines.from_matvec(turn @ np.diag([-5.1, 5.2, 6.3]), [77.7, -91.3, -60.1])


def save(root: Path, image) -> Path:
    path = root / NAME
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(image, path)
    return path


def extracted(path: Path, root: Path, **more) -> VolumeRecord:
    source = path.relative_to(root).as_posix()
    key = VolumeKey("sub-01", "", "T1w")
    candidate = Candidate(key, path, source, Entities(contrast="T1w"), **more)
    draft = prepare_volume(candidate, preprocessing_of("letterbox", StepOverrides(canvas=70))).draft
    return VolumeRecord(**draft.model_dump(), row=0, tokens={}, digest="0" * 64)


def coded(qform: int, sform: int, kind=nibabel.Nifti1Image, shift: float = 0.0):
    """An image whose qform and sform carry these codes; `shift` mm lie between them."""
    image = kind(head(), oblique())
    image.set_qform(oblique() if qform else None, code=qform, update_affine=False)
    beside = oblique()
    beside[:3, 3] += shift
    image.set_sform(beside if sform else None, code=sform, update_affine=False)
    image.header.set_xyzt_units("mm", "sec")
    image.header["descrip"] = b"Somebody^s name"
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"born on a day"))
    return image


@pytest.mark.parametrize(
    ("qform", "sform", "kind", "shift"),
    [
        (1, 1, nibabel.Nifti1Image, 0.0),
        (1, 0, nibabel.Nifti1Image, 0.0),
        (0, 2, nibabel.Nifti1Image, 0.0),
        (1, 4, nibabel.Nifti1Image, 0.5),
        (2, 3, nibabel.Nifti2Image, 0.0),
    ],
)
def test_affine_and_codes_are_the_images_bit_for_bit(tmp_path, qform, sform, kind, shift):
    path = save(tmp_path, coded(qform, sform, kind, shift))
    image = nibabel.load(path)
    record = extracted(path, tmp_path)
    scores = np.random.default_rng(1).random((len(record.slices.index), 5, 5)).astype(np.float32)
    written, geometry_from = write_volume_map(tmp_path / "out", record, "memory_bank", scores, root=tmp_path)
    assert geometry_from == "image"
    found = nibabel.load(written)
    assert type(found) is kind
    assert found.shape == image.shape
    assert found.get_data_dtype() == np.float32
    assert found.affine.tobytes() == image.affine.tobytes()
    for name in ("qform_code", "sform_code", "quatern_b", "qoffset_x", "srow_x", "srow_z", "xyzt_units"):
        assert found.header[name].tobytes() == image.header[name].tobytes()
    assert found.header["pixdim"][:4].tobytes() == image.header["pixdim"][:4].tobytes()
    # Nothing else of the header travels: it may name people.
    assert not found.header["descrip"].item().strip(b"\0")
    assert not found.header.extensions
    assert [path.name for path in written.parent.iterdir()] == [written.name]


def test_without_the_image_the_records_affine_is_the_sform(tmp_path):
    record = extracted(save(tmp_path, coded(1, 1)), tmp_path)
    values = np.zeros(record.geometry.native_shape, np.float32)
    assert write_map(tmp_path / "a.nii", values, record) == "record"
    found = nibabel.load(tmp_path / "a.nii")
    assert (int(found.header["qform_code"]), int(found.header["sform_code"])) == (0, 1)
    # The record's numbers came from float32, so nothing is lost.
    np.testing.assert_array_equal(found.affine, np.array(record.geometry.affine))


def test_a_changed_image_or_a_stated_orientation_is_not_followed(tmp_path):
    path = save(tmp_path, coded(1, 1))
    record = extracted(path, tmp_path, orientation="PSR")
    values = np.zeros(record.geometry.native_shape, np.float32)
    assert write_map(tmp_path / "a.nii.gz", values, record, path) == "record"
    np.testing.assert_allclose(nibabel.load(tmp_path / "a.nii.gz").affine, record.geometry.affine, rtol=1e-6)
    record = extracted(path, tmp_path)
    save(tmp_path, nibabel.Nifti1Image(head((30, 37, 23)), oblique()))
    assert write_map(tmp_path / "b.nii", values, record, path) == "record"
    path.write_bytes(b"no image")
    assert write_map(tmp_path / "c.nii", values, record, path) == "record"


def test_an_unknown_orientation_stays_unknown(tmp_path):
    record = extracted(save(tmp_path, coded(1, 1)), tmp_path)
    geometry = record.geometry.model_copy(update={"orientation": "unknown"})
    record = record.model_copy(update={"geometry": geometry})
    write_map(tmp_path / "a.nii", np.zeros(geometry.native_shape, np.float32), record)
    header = nibabel.load(tmp_path / "a.nii").header
    assert (int(header["qform_code"]), int(header["sform_code"])) == (0, 0)


def test_sources_that_are_gone_or_hidden_give_none(tmp_path):
    path = save(tmp_path, coded(1, 1))
    record = extracted(path, tmp_path)
    assert source_image(record, tmp_path) == path
    assert source_image(record, None) is None
    assert source_image(record, tmp_path / "elsewhere") is None
    for name in ("sha256:" + "0" * 64, "", "scans.h5"):
        hidden = record.model_copy(update={"source": record.source.model_copy(update={"path": name})})
        assert source_image(hidden, tmp_path) is None


def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch):
    record = extracted(save(tmp_path, coded(1, 1)), tmp_path)
    monkeypatch.setattr(nibabel, "save", lambda image, path: (Path(path).write_bytes(b"half"), 1 / 0))
    with pytest.raises(ZeroDivisionError):
        write_map(tmp_path / "o" / "a.nii", np.zeros(record.geometry.native_shape, np.float32), record)
    assert not list((tmp_path / "o").iterdir())
    with pytest.raises(SlicecacheError, match="shape"):
        write_map(tmp_path / "a.nii", np.zeros((2, 3, 5), np.float32), record)


@pytest.mark.parametrize(
    ("participant", "session", "volume", "expected"),
    [
        ("sub-01", "", "T1w", "sub-01/anat/sub-01_mod-T1w_desc-memorybank_anomalymap.nii.gz"),
        (
            "sub-01",
            "ses-02",
            "space-MNI_acq-x_run-1_desc-preproc_FLAIR",
            "sub-01/ses-02/anat/sub-01_ses-02_acq-x_run-1_mod-FLAIRpreproc_space-MNI_desc-memorybank"
            "_anomalymap.nii.gz",
        ),
        ("IXI002", "", "IXI002-Guys-T1", r"sub-IXI002/anat/sub-IXI002_mod-IXI002GuysT1[0-9a-f]{6}_desc-.*"),
        ("a_b", "m12", "T1w", r"sub-ab[0-9a-f]{6}/ses-m12/anat/sub-ab[0-9a-f]{6}_ses-m12_mod-T1w_.*"),
    ],
)
def test_names_are_bids(tmp_path, participant, session, volume, expected):
    record = extracted(save(tmp_path, coded(1, 1)), tmp_path)
    key = {"participant_id": participant, "session_id": session, "volume_id": volume}
    import re

    assert re.fullmatch(expected, map_name(record.model_copy(update=key), "memory_bank"))


def test_different_ids_never_share_a_name(tmp_path):
    assert volume_entities("a-b_c")["mod"] != volume_entities("ab_c")["mod"]
    record = extracted(save(tmp_path, coded(1, 1)), tmp_path)
    names = {map_name(record.model_copy(update={"participant_id": p}), "x") for p in ("a_b", "ab", "a-b")}
    assert len(names) == 3


def test_the_folder_describes_itself(tmp_path):
    describe_maps(tmp_path / "maps", {"memory_bank": {"Fingerprint": "f" * 64}})
    described = json.loads((tmp_path / "maps" / "dataset_description.json").read_text())
    assert described["DatasetType"] == "derivative"
    assert described["GeneratedBy"][0]["Name"] == "slicecache detect"
    sidecar = json.loads((tmp_path / "maps" / "desc-memorybank_anomalymap.json").read_text())
    assert sidecar["Fingerprint"] == "f" * 64


def test_a_map_reads_back_as_it_was(tmp_path):
    record = extracted(save(tmp_path, coded(1, 1)), tmp_path)
    values = np.random.default_rng(0).random(record.geometry.native_shape).astype(np.float32)
    write_map(tmp_path / "a.nii.gz", values, record, tmp_path / NAME)
    np.testing.assert_array_equal(np.asarray(nibabel.load(tmp_path / "a.nii.gz").dataobj), values)
    assert read_lesion_mask(tmp_path / "a.nii.gz", record).sum() == (values >= 0.5).sum()
