"""A quicker inflate gives the bytes of the usual one, and its errors are the usual one's."""

import gzip
import zlib

import nibabel as nib
import numpy as np
import pytest
from nibabel.filebasedimages import ImageFileError

from cache_schema.common.errors import VolumeError
from cache_schema.format.identity import VolumeKey
from cache_schema.format.record import Entities
from extract.sources.candidate import Candidate
from extract.volume import gzipped
from extract.volume.gzipped import stored_voxels
from extract.volume.read import read_volume

pytest.importorskip("zlib_ng", reason="the extra [gzip] is not installed")


@pytest.fixture
def quick(monkeypatch):
    """How often the quick inflate was asked."""
    asked = []
    original = gzipped.gzip_ng.open

    class Counted:
        @staticmethod
        def open(path):
            asked.append(path)
            return original(path)

    monkeypatch.setattr(gzipped, "gzip_ng", Counted)
    return asked


def voxels(path):
    key = VolumeKey("a", "", "T1w")
    return read_volume(Candidate(key, path, path.name, Entities()), allow_unknown_orientation=True).data


def proxy_voxels(path):
    """Without the looks at whether the file changes meanwhile, which take a moment each."""
    return stored_voxels(nib.load(path).dataobj)


def either_way(path, monkeypatch, read=voxels):
    """Voxels, or the sentence that refuses them: by the quick inflate, and without it."""
    told = []
    for there in (gzipped.gzip_ng, None):
        with monkeypatch.context() as patched:
            patched.setattr(gzipped, "gzip_ng", there)
            try:
                told.append(read(path).tobytes())
            except (VolumeError, OSError, EOFError, ValueError, zlib.error, ImageFileError) as error:
                told.append(str(error))
    return told


@pytest.mark.parametrize(
    ("name", "kind", "slope"),
    [
        ("a.nii.gz", np.int16, 1.0),
        ("a.NII.GZ", np.uint8, 0.25),
        ("a.nii.gz", np.float64, 1.0),
        ("a.mgz", np.float32, 1.0),
        ("a.img.gz", np.int16, 2.0),
    ],
)
def test_voxels_are_equal_bit_for_bit(tmp_path, monkeypatch, quick, name, kind, slope):
    values = np.random.default_rng(0).integers(0, 200, (11, 9, 7)).astype(kind)
    image = (nib.MGHImage if name.endswith("mgz") else nib.Nifti1Image)(values, np.eye(4))
    if slope != 1.0:
        image.header.set_slope_inter(slope, 3.0)
    path = tmp_path / name
    if name.endswith("img.gz"):
        nib.Nifti1Pair(values, np.eye(4)).to_filename(path)
    else:
        nib.save(image, path)
    first, second = either_way(path, monkeypatch)
    assert first == second
    assert isinstance(first, bytes)
    assert len(quick) == 1


def test_members_behind_each_other_and_trailing_zeros(tmp_path, monkeypatch, quick):
    path = tmp_path / "a.nii"
    nib.save(nib.Nifti1Image(np.arange(8**3, dtype=np.int16).reshape(8, 8, 8), np.eye(4)), path)
    data = path.read_bytes()
    packed = tmp_path / "b.nii.gz"
    packed.write_bytes(gzip.compress(data[:700]) + gzip.compress(data[700:]) + bytes(64))
    first, second = either_way(packed, monkeypatch)
    assert first == second == voxels(path).tobytes()


def test_what_is_damaged_is_refused_in_the_same_words(tmp_path, monkeypatch):
    """Every flipped bit and every cut: the same voxels, or the same sentence."""
    rng = np.random.default_rng(1)
    path = tmp_path / "a.nii.gz"
    values = np.sort(rng.integers(0, 900, 4096)).astype(np.int16).reshape(16, 16, 16)
    nib.save(nib.Nifti1Image(values, np.eye(4)), path)
    whole = path.read_bytes()
    damaged = tmp_path / "b.nii.gz"
    refused = 0
    for turn in range(120):
        data = bytearray(whole)
        if turn % 4:
            place = int(rng.integers(400, len(data)))
            data[place] ^= 1 << int(rng.integers(8))
        else:
            del data[int(rng.integers(400, len(data))) :]
        damaged.write_bytes(data)
        first, second = either_way(damaged, monkeypatch, proxy_voxels)
        assert first == second
        refused += isinstance(first, str)
    assert refused > 40


def test_plain_files_and_other_proxies_are_left_alone(tmp_path, quick):
    path = tmp_path / "a.nii"
    nib.save(nib.Nifti1Image(np.ones((3, 4, 5), np.int16), np.eye(4)), path)
    assert stored_voxels(nib.load(path).dataobj).shape == (3, 4, 5)
    assert quick == []
