"""A file is replaced whole or stays as it was, and nothing is left beside it."""

import os

import pytest

from cache_schema.files.disk.whole import replacing, write_whole


def test_a_file_is_replaced_and_its_folder_made(tmp_path):
    path = tmp_path / "new" / "x.bin"
    write_whole(path, b"old")
    write_whole(path, b"new")
    assert path.read_bytes() == b"new"
    assert os.listdir(path.parent) == ["x.bin"]


def test_a_write_that_fails_leaves_the_old_file_alone(tmp_path):
    path = tmp_path / "x.nii.gz"
    path.write_bytes(b"old")

    def fail():
        with replacing(path, ending=".nii.gz") as beside:
            assert beside.name.startswith(".x.nii.gz.writing")
            assert beside.name.endswith(".nii.gz")
            beside.write_bytes(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["x.nii.gz"]
