"""Volumes read from copies on the node's disk: the same numbers, and a record of the original."""

import os
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from made_up_inputs import AFFINE, save_mask, voxels

from cache_schema.common.errors import VolumeError
from cache_schema.format.identity import VolumeKey
from cache_schema.format.record import Entities
from extract import staging
from extract.backbones import weights
from extract.backbones.dinov2 import write_example
from extract.sources.candidate import Candidate
from extract.volume import read as reading
from extract.volume.read import read_volume


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A disk of the node's own, with room."""
    folder = tmp_path / "node"
    folder.mkdir()
    monkeypatch.setenv(staging.VARIABLE, str(folder))
    monkeypatch.setattr(staging, "SPARE_BYTES", 0)
    return folder


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Which files were decoded."""
    seen: list[Path] = []
    before = reading.open_volume

    def watch(candidate: Candidate):
        seen.append(candidate.path)
        return before(candidate)

    monkeypatch.setattr(reading, "open_volume", watch)
    return seen


def candidate(path: Path, **more: object) -> Candidate:
    entities = Entities(contrast="T1w", run="", acquisition="", space="", description="")
    return Candidate(VolumeKey("sub-1", "", "T1w"), path, path.name, entities, **more)  # type: ignore[arg-type]


def image(path: Path, kind=nib.Nifti1Image) -> Path:
    nib.save(kind(voxels(1), AFFINE), path)
    os.utime(path, ns=(10**18, 10**18))
    return path


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.img"])
def test_numbers_and_record_are_those_of_the_original(tmp_path, stage, opened, monkeypatch, name):
    path = image(tmp_path / name, nib.AnalyzeImage if name == "a.img" else nib.Nifti1Image)
    mask = None
    if name != "a.img":  # whose origin is another one
        mask = tmp_path / "other" / name  # the same name, elsewhere
        mask.parent.mkdir()
        save_mask(mask)
    asked = candidate(path, foreground_path=mask, orientation="RAS")
    near = read_volume(asked)
    monkeypatch.delenv(staging.VARIABLE)
    far = read_volume(asked)
    assert opened[0].parent.parent == stage
    assert opened[1] == path
    np.testing.assert_array_equal(near.data, far.data)
    np.testing.assert_array_equal(near.mask, far.mask)
    assert (near.inputs, near.source) == (far.inputs, far.source)
    assert list(stage.iterdir()) == []


def test_an_original_that_changes_meanwhile_is_a_failure(tmp_path, stage, monkeypatch):
    path = image(tmp_path / "a.nii")
    before = reading.open_volume

    def meddle(here: Candidate):
        path.write_bytes(path.read_bytes() + b"x")
        return before(here)

    monkeypatch.setattr(reading, "open_volume", meddle)
    with pytest.raises(VolumeError, match="changed while it was read"):
        read_volume(candidate(path))
    assert list(stage.iterdir()) == []


def test_the_digest_is_of_the_bytes_that_were_decoded(tmp_path, stage, monkeypatch):
    path = image(tmp_path / "a.nii")
    whole = path.read_bytes()
    before = shutil.copyfile

    def damaged(source, target):
        copy = before(source, target)
        Path(copy).write_bytes(whole[:-4] + b"\0\0\x80?")
        return copy

    monkeypatch.setattr(shutil, "copyfile", damaged)
    found = read_volume(candidate(path))
    monkeypatch.undo()
    assert found.inputs is not None
    assert found.inputs.files["image"].sha256 != read_volume(candidate(path)).inputs.files["image"].sha256


@pytest.mark.parametrize("trouble", ["full", "too little room", "gone"])
def test_where_no_copy_can_be_made_the_original_is_read(tmp_path, stage, opened, monkeypatch, trouble):
    path = image(tmp_path / "a.nii")
    if trouble == "full":

        def full(source, target):
            Path(target).write_bytes(b"half")
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(shutil, "copyfile", full)
    elif trouble == "too little room":
        monkeypatch.setattr(staging, "SPARE_BYTES", 1 << 62)
    else:
        stage.rmdir()
    assert read_volume(candidate(path)).data.shape == voxels(1).shape
    assert opened == [path]
    assert not stage.exists() or list(stage.iterdir()) == []


def test_weights_are_read_from_a_copy_and_are_the_same(tmp_path, stage, monkeypatch):
    folder = write_example(tmp_path / "checkpoint", gated=False, registers=False)
    read: list[Path] = []
    before = weights.load_file
    monkeypatch.setattr(weights, "load_file", lambda path: (read.append(Path(path)), before(path))[1])
    near = weights.read_weights(folder)
    monkeypatch.delenv(staging.VARIABLE)
    far = weights.read_weights(folder)
    assert [path.parent.parent == stage for path in read] == [True, False]
    assert weights.weights_digest(near) == weights.weights_digest(far)
    assert list(stage.iterdir()) == []


def test_a_reason_names_the_original_and_not_the_copy(tmp_path, stage):
    path = image(tmp_path / "a.nii.gz")
    path.write_bytes(path.read_bytes()[:-700])
    with pytest.raises(VolumeError) as near:
        read_volume(candidate(path))
    os.environ.pop(staging.VARIABLE)
    with pytest.raises(VolumeError) as far:
        read_volume(candidate(path))
    assert str(near.value) == str(far.value)
    assert str(stage) not in str(near.value)
