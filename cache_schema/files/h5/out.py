"""A new HDF5 file on a disk that may be full.

HDF5 does not live through a write that fails: it keeps the file open, tries again at every turn, and on the
way out of the process it ended in a segmentation fault (HDF5 1.14, a full tmpfs). So it writes to an object
that never fails it: that keeps the first error, and drops everything after it.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class SteadyFile:
    """A binary file for `h5py.File`, which remembers what went wrong instead of raising it."""

    def __init__(self, path: str | Path) -> None:
        """Make a new file.

        Raises:
            OSError: If it is there, or cannot be made.
        """
        self._file = io.FileIO(path, "x+")
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        """Write all of it, or keep why not."""
        whole = view = memoryview(data).cast("B")
        while len(view) and self.error is None:
            try:
                view = view[self._file.write(view) or 0 :]
            except OSError as error:
                self.error = error
        return len(whole)

    def truncate(self, size: int) -> int:
        """Set the length, or keep why not."""
        try:
            return self._file.truncate(size) if self.error is None else size
        except OSError as error:
            self.error = error
            return size

    def read(self, count: int = -1) -> bytes:
        """Read; h5py knows a file by this and `seek`."""
        return self._file.read(count) or b""

    def readinto(self, buffer: Any) -> int:
        """Read; what was dropped is zeros, since HDF5 does not live through a read that is short either."""
        count = self._file.readinto(buffer) or 0
        if self.error is None:
            return count
        view = memoryview(buffer).cast("B")
        view[count:] = bytes(len(view) - count)
        return len(view)

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go to a place."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Where the next byte goes."""
        return self._file.tell()

    def flush(self) -> None:
        """Nothing waits here."""

    def close(self) -> None:
        """Close, once HDF5 has: it must never meet a file that is gone."""
        try:
            self._file.close()
        except OSError as error:
            self.error = self.error or error

    def check(self) -> None:
        """Say what went wrong.

        Raises:
            OSError: The first that was met.
        """
        if self.error is not None:
            raise self.error


@contextmanager
def new_h5(path: str | Path) -> Iterator[Any]:
    """An HDF5 file to write to; what the disk refused is raised at the end of the block.

    Raises:
        OSError: If the file cannot be made, or not all of it was written.
    """
    import h5py

    out = SteadyFile(path)
    try:
        with h5py.File(out, "w") as file:
            yield file
    finally:
        out.close()
    out.check()
