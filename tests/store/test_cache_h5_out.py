"""What HDF5 writes to: it is never refused anything, and who asks afterwards is told."""

import errno
from typing import Any

import pytest

from cache_schema.files.h5.out import SteadyFile


class Full:
    """A file on a disk without space."""

    def __init__(self, file: Any) -> None:
        self.file = file

    def write(self, data: Any) -> int:
        raise OSError(errno.ENOSPC, "no space left")

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


def test_what_a_full_disk_dropped_reads_as_zeros_and_is_told(tmp_path):
    out = SteadyFile(tmp_path / "a.h5")
    assert out.write(b"12345") == 5
    out.check()
    out._file = Full(out._file)
    assert out.write(b"6789") == 4
    out.seek(3)
    buffer = bytearray(b"xxxxxx")
    assert out.readinto(buffer) == 6
    assert bytes(buffer) == b"45\0\0\0\0"
    out.close()
    with pytest.raises(OSError, match="no space"):
        out.check()
