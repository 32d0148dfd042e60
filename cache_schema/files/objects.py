"""Named byte objects: what a store is made of, in a local folder or in any Zarr store.

A name is a relative path with forward slashes. `put` is atomic: a reader finds the old bytes or the
new ones and never a part. `create` is atomic and exclusive: of several processes exactly one gets
True. Nothing here locks.
"""

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Protocol, Self, runtime_checkable

from cache_schema.common.errors import StoreError
from cache_schema.files.unfinished import is_leftover, owner_token
from cache_schema.files.whole import replacing

TEMPORARY = "tmp"


class Opened(Protocol):
    """One object, opened for reading parts of it; closed when its block ends."""

    size: int
    """Bytes."""

    def __enter__(self) -> Self: ...
    def __exit__(self, *ending: object) -> None: ...

    def read_into(self, offset: int, buffers: Sequence[Any]) -> int:
        """Fill buffers one after another from an offset on; the bytes read, fewer at the object's end."""
        ...


@runtime_checkable
class Objects(Protocol):
    """Byte objects by name."""

    def get(self, name: str) -> bytes | None:
        """The bytes, or None when there is no such object."""
        ...

    def opened(self, name: str, *, parts: bool) -> Opened | None:
        """Open an object, of which parts will be read or all; None when there is no such object."""
        ...

    def put(self, name: str, data: bytes) -> None:
        """Write or replace an object, atomically."""
        ...

    def create(self, name: str, data: bytes) -> bool:
        """Write an object if there is none yet; False when there was one."""
        ...

    def list(self, prefix: str) -> list[str]:
        """Sorted names of the objects below the folder `prefix`."""
        ...

    def delete(self, name: str) -> None:
        """Delete an object; absent is fine."""
        ...

    def zarr_store(self) -> Any:
        """The same objects as a read-only Zarr store."""
        ...


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
        """Open it."""
        self._file = os.open(path, os.O_RDONLY)
        self.size = os.fstat(self._file).st_size

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *ending: object) -> None:
        os.close(self._file)

    def read_into(self, offset: int, buffers: Sequence[Any]) -> int:
        """Read without a copy, in one call."""
        return os.preadv(self._file, buffers, offset)


class LocalObjects:
    """Objects in a folder of a POSIX file system, local or shared."""

    def __init__(self, root: Path) -> None:
        """Hold the folder; nothing is touched."""
        self.root = root

    def path(self, name: str) -> str:
        """File of an object."""
        return f"{self.root}/{name}"

    def get(self, name: str) -> bytes | None:
        """Read a file, or None."""
        try:
            with open(self.path(name), "rb") as file:
                return file.read()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise StoreError(f"cannot read {self.path(name)!r}: {error.strerror}") from error

    def opened(self, name: str, *, parts: bool) -> OpenedFile | None:
        """Open a file, or None."""
        try:
            return OpenedFile(self.path(name))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise StoreError(f"cannot read {self.path(name)!r}: {error.strerror}") from error

    def put(self, name: str, data: bytes) -> None:
        """Write beside and rename over."""
        with self.writing(name) as file:
            file.write(data)

    @contextlib.contextmanager
    def writing(self, name: str) -> Iterator[BinaryIO]:
        """Write an object piece by piece; it takes its name when the block ends well."""
        temporary = self.path(f"{TEMPORARY}/write{owner_token()}")
        with replacing(self.path(name), temporary), _create(temporary) as file:
            yield file

    def create(self, name: str, data: bytes) -> bool:
        """Write beside and hard-link, which fails when the name exists.

        The temporary file lies in the same folder, since some shared file systems link only there.
        """
        folder, _, base = name.rpartition("/")
        temporary = self.path(f"{folder}/.{base}{owner_token()}")
        with _create(temporary) as file:
            file.write(data)
        try:
            os.link(temporary, self.path(name))
        except FileExistsError:
            return False
        except OSError as error:
            raise StoreError(
                f"the file system of {str(self.root)!r} has no hard links ({error.strerror}), which several "
                "writers need; write the store elsewhere and copy it"
            ) from error
        finally:
            os.unlink(temporary)
        return True

    def list(self, prefix: str) -> list[str]:
        """Walk a folder; hidden (unfinished) files are left out."""
        found = []
        for folder, _, files in os.walk(self.path(prefix)):
            relative = os.path.relpath(folder, self.root).replace(os.sep, "/")
            found += [f"{relative}/{name}" for name in files if not name.startswith(".")]
        return sorted(found)

    def delete(self, name: str) -> None:
        """Unlink a file."""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            os.unlink(self.path(name))

    def stamp(self, name: str) -> tuple[int, int] | None:
        """Inode and time of a file, which differ after every put; None when it is gone."""
        try:
            stat = os.stat(self.path(name))
        except FileNotFoundError:
            return None
        return stat.st_ino, stat.st_mtime_ns

    def zarr_store(self) -> Any:
        """Zarr's own store over the folder."""
        from zarr.storage import LocalStore

        return LocalStore(self.root, read_only=True)

    def sweep(self) -> int:
        """Delete unfinished writes of processes that are gone; the number deleted.

        Never touches a write of a live process: see `is_leftover`.
        """
        swept = 0
        for folder in (TEMPORARY, "table", "withdrawn"):
            with contextlib.suppress(FileNotFoundError), os.scandir(self.path(folder)) as entries:
                for entry in entries:
                    if (folder == TEMPORARY or entry.name.startswith(".")) and is_leftover(entry.path):
                        with contextlib.suppress(FileNotFoundError):
                            os.unlink(entry.path)
                            swept += 1
        return swept


def _create(path: str) -> BinaryIO:
    """Open a new file for writing, making its folder when it is missing."""
    try:
        return open(path, "xb")
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return open(path, "xb")
