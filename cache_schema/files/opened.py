"""One object that was opened: its size is known, and parts of it are read into place."""

import errno
import os
import stat
from collections.abc import Sequence
from typing import Any, Protocol, Self

from cache_schema.common.errors import StoreError
from cache_schema.common.machine import refuse_machine
from cache_schema.format.limits import object_limit


class Opened(Protocol):
    """One object, opened for reading parts of it; closed when its block ends."""

    size: int
    """Bytes."""

    def __enter__(self) -> Self: ...
    def __exit__(self, *ending: object) -> None: ...

    def read_into(self, offset: int, buffers: Sequence[Any]) -> int:
        """Fill buffers one after another from an offset on; the bytes read, fewer at the object's end."""
        ...


def followed(path: str) -> StoreError:
    """Why a symbolic link is not followed."""
    return StoreError(
        f"{path!r} is a symbolic link: nothing inside a store is followed out of it; put a copy of what it "
        "points at in its place"
    )


def require_size(name: str, size: int) -> None:
    """Refuse to read an object into memory that is larger than its kind can be.

    Raises:
        StoreError: If it is.
    """
    if size > object_limit(name):
        raise StoreError(f"{name:.200} has {size} bytes, {object_limit(name)} at most are read")


class OpenedBytes:
    """An object that is in memory."""

    def __init__(self, data: bytes) -> None:
        """Hold it."""
        self._data, self.size = memoryview(data), len(data)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *ending: object) -> None:
        return None

    def read_into(self, offset: int, buffers: Sequence[Any]) -> int:
        """Copy."""
        start = offset
        for buffer in buffers:
            part = self._data[offset : offset + len(buffer)]
            buffer[: len(part)] = part
            offset += len(part)
        return offset - start


class OpenedFile:
    """A file of a local folder."""

    def __init__(self, path: str) -> None:
        """Open it.

        Raises:
            StoreError: If it is no file: a symbolic link, a folder, a pipe (which is not waited for).
        """
        self._path = path
        try:
            self._file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.EMLINK):
                raise followed(path) from None
            raise
        found = os.fstat(self._file)
        self.size = found.st_size
        self.identity = [found.st_dev, found.st_ino]
        if not stat.S_ISREG(found.st_mode):
            os.close(self._file)
            raise StoreError(f"{path!r} is no file, and a store holds nothing but files and folders")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *ending: object) -> None:
        os.close(self._file)

    def read_into(self, offset: int, buffers: Sequence[Any]) -> int:
        """Read without a copy, in one call."""
        try:
            return os.preadv(self._file, buffers, offset)
        except OSError as error:
            refuse_machine(error, "read", self._path)
            raise

    def read(self) -> bytes:
        """All of it."""
        with open(self._file, "rb", buffering=0, closefd=False) as file:
            return file.readall()
