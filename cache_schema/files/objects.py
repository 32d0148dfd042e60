"""Named byte objects: what a store is made of, in a local folder or in any Zarr store.

A name is a relative path with forward slashes. `put` is atomic: a reader finds the old bytes or the
new ones and never a part. `create` is atomic and exclusive: of several processes exactly one gets
True. Nothing here locks.
"""

import contextlib
import os
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from cache_schema.common.errors import StoreError
from cache_schema.files.exchange import interrupted
from cache_schema.files.remote import ZarrObjects, url_store, zip_store
from cache_schema.files.unfinished import is_leftover, owner_token

TEMPORARY = "tmp"


@runtime_checkable
class Objects(Protocol):
    """Byte objects by name."""

    def get(self, name: str) -> bytes | None:
        """The bytes, or None when there is no such object."""
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

    def put(self, name: str, data: bytes) -> None:
        """Write beside and rename over."""
        temporary = self.path(f"{TEMPORARY}/write{owner_token()}")
        _write(temporary, data)
        target = self.path(name)
        try:
            os.replace(temporary, target)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(target), exist_ok=True)
            os.replace(temporary, target)

    def create(self, name: str, data: bytes) -> bool:
        """Write beside and hard-link, which fails when the name exists.

        The temporary file lies in the same folder, since some shared file systems link only there.
        """
        folder, _, base = name.rpartition("/")
        temporary = self.path(f"{folder}/.{base}{owner_token()}")
        _write(temporary, data)
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
        for folder in (TEMPORARY, "table"):
            with contextlib.suppress(FileNotFoundError), os.scandir(self.path(folder)) as entries:
                for entry in entries:
                    if (folder == TEMPORARY or entry.name.startswith(".")) and is_leftover(entry.path):
                        with contextlib.suppress(FileNotFoundError):
                            os.unlink(entry.path)
                            swept += 1
        return swept


def open_objects(location: str) -> Objects | None:
    """The objects at a location: a folder, a `.zip`, an `.h5`, a URL; None when nothing is there.

    Raises:
        StoreError: If the location is of a kind that cannot be opened.
    """
    if "://" in location:
        return ZarrObjects(url_store(location))
    path = Path(location).expanduser()
    if path.is_dir():
        return LocalObjects(path)
    if not path.exists():
        old = interrupted(path.absolute())
        if old is not None:
            raise StoreError(f"replacing {location!r} was interrupted; rename {str(old)!r} back to it")
        return None
    if path.suffix in (".h5", ".hdf5"):
        from cache_schema.files.h5 import H5Objects

        return H5Objects(path)
    if path.suffix == ".zip":
        return ZarrObjects(zip_store(path))
    raise StoreError(f"{location!r} is a file; a store is a folder, a .zip, an .h5 or a URL")


def _write(path: str, data: bytes) -> None:
    """Write a new file, making its folder when it is missing."""
    try:
        file = open(path, "xb")  # noqa: SIM115
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        file = open(path, "xb")  # noqa: SIM115
    with file:
        file.write(data)
