"""Named byte objects: what a store is made of, in a local folder or in any Zarr store.

A name is a relative path with forward slashes. `put` is atomic: a reader finds the old bytes or the
new ones and never a part. `create` is atomic and exclusive: of several processes exactly one gets
True. What has returned survives a power failure. Nobody waits for a lock here.
"""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Protocol, runtime_checkable

from cache_schema.common.errors import StoreError
from cache_schema.common.machine import machine_said, refuse_machine
from cache_schema.files.disk.durable import sync, sync_above, sync_folder
from cache_schema.files.disk.unfinished import new_file, sweep
from cache_schema.files.opened import Opened as Opened
from cache_schema.files.opened import OpenedBytes as OpenedBytes
from cache_schema.files.opened import OpenedFile, followed, require_size
from cache_schema.format.limits import unsafe_name

TEMPORARY = "tmp"


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


class LocalObjects:
    """Objects in a folder of a POSIX file system, local or shared.

    The folder itself may be behind a symbolic link, since its user named it; inside it none is followed.
    """

    def __init__(self, root: Path, *, durable: bool = True) -> None:
        """Hold the folder; nothing is touched.

        Args:
            root: The folder.
            durable: Whether what is written and deleted waits for the disk, so that a power failure
                after it changes nothing.
        """
        self.root = root
        self.durable = durable
        self._real: set[str] = {""}
        """Folders that were looked at: they are no links."""
        self._safe: set[str] = set()
        self._waiting: set[str] | None = None

    def path(self, name: str) -> str:
        """File of an object (`cls/` stands for the folder); whatever is touched here is named by this.

        Raises:
            StoreError: If it could lie outside the store: by its name, or behind a link.
        """
        folder = name.rpartition("/")[0]
        if folder not in self._real or unsafe_name(name):
            self._require_inside(name, folder)
        return f"{self.root}/{name}"

    def _require_inside(self, name: str, folder: str) -> None:
        """Refuse names that lead up, and folders that are links; folders that are none are remembered."""
        if unsafe_name(name):
            raise StoreError(f"{str(self.root)!r} names {name!r:.200}, which could lie outside it")
        path = str(self.root)
        for part in folder.split("/"):
            path = f"{path}/{part}"
            try:
                mode = os.lstat(path).st_mode
            except (FileNotFoundError, NotADirectoryError):
                return
            except OSError as error:
                refuse_machine(error, "read", path)
                raise StoreError(f"cannot read {path!r}: {error.strerror}") from error
            if stat.S_ISLNK(mode):
                raise followed(path)
        self._real.add(folder)

    def get(self, name: str) -> bytes | None:
        """Read a file, or None."""
        opened = self.opened(name, parts=False)
        if opened is None:
            return None
        with opened:
            require_size(name, opened.size)
            try:
                return opened.read()
            except OSError as error:
                refuse_machine(error, "read", self.path(name))
                raise StoreError(f"cannot read {self.path(name)!r}: {error.strerror}") from error

    def opened(self, name: str, *, parts: bool) -> OpenedFile | None:
        """Open a file, or None."""
        try:
            return OpenedFile(self.path(name))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            refuse_machine(error, "read", self.path(name))
            raise StoreError(f"cannot read {self.path(name)!r}: {error.strerror}") from error

    def put(self, name: str, data: bytes) -> None:
        """Write beside and rename over."""
        with self.writing(name) as file:
            file.write(data)

    @contextlib.contextmanager
    def writing(self, name: str) -> Iterator[BinaryIO]:
        """Write an object piece by piece; it takes its name when the block ends well."""
        path = self.path(name)
        with machine_said("write", path), new_file(self.path(f"{TEMPORARY}/write")) as file:
            try:
                yield file
                self._flush(file)
                self._rename(file.name, path)
            except BaseException:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(file.name)
                raise
        self.keep(os.path.dirname(name))

    def create(self, name: str, data: bytes) -> bool:
        """Write beside and hard-link, which fails when the name exists.

        The temporary file lies in the same folder, since some shared file systems link only there.
        """
        folder, _, base = name.rpartition("/")
        path = self.path(name)
        beside = self.path(f"{folder}/.{base}" if folder else f".{base}")
        with machine_said("write", path), new_file(beside) as file:
            try:
                file.write(data)
                self._flush(file)
                made = self._link(file.name, path)
            finally:
                os.unlink(file.name)
        self.keep(folder)  # the winner's name, too: what comes next may rest on it
        return made

    def _link(self, old: str, new: str) -> bool:
        """Give a file a second name, if that is free."""
        try:
            os.link(old, new)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno != errno.EPERM:  # which file systems without hard links say
                refuse_machine(error, "write", new)
            raise StoreError(
                f"the file system of {str(self.root)!r} has no hard links ({error.strerror}), which several "
                "writers need; write the store elsewhere and copy it"
            ) from error
        return True

    def list(self, prefix: str) -> list[str]:
        """Walk a folder; hidden (unfinished) files are left out.

        Raises:
            StoreError: At a symbolic link, or a name that is no text.
            MachineError: If a folder cannot be looked into: its objects must not pass for absent.
        """
        found: list[str] = []
        folders = [prefix]
        while folders:
            folder = folders.pop()
            try:
                with os.scandir(self.path(f"{folder}/")) as entries:
                    for entry in entries:
                        name = f"{folder}/{entry.name}"
                        if entry.is_dir(follow_symlinks=False):
                            folders.append(name)
                        elif not entry.name.startswith("."):
                            self._require_plain(entry)
                            found.append(name)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                refuse_machine(error, "list", self.root / folder)
                raise StoreError(f"cannot list {str(self.root / folder)!r}: {error.strerror}") from error
        return sorted(found)

    def _require_plain(self, entry: "os.DirEntry[str]") -> None:
        """Refuse a link, and a name that could not be written down."""
        if entry.is_symlink():
            raise followed(entry.path)
        if not entry.name.isascii():
            raise StoreError(f"{entry.path!a} is no name in this format, whose names are ASCII")

    def delete(self, name: str) -> None:
        """Unlink a file; it stays deleted, whoever did it first."""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            os.unlink(self.path(name))
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            self.keep(os.path.dirname(name))

    def keep(self, folder: str) -> None:
        """Wait until the names in a folder are on the disk, and its own."""
        if self._waiting is not None:
            self._waiting.add(folder)
        elif self.durable:
            path = os.path.abspath(self.path(folder))
            sync_folder(path)
            sync_above(path, self._safe)

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Wait for the names of what is written and deleted in a block at its end, once per folder."""
        self._waiting = set()
        try:
            yield
        finally:
            folders, self._waiting = self._waiting, None
        for folder in sorted(folders):
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                self.keep(folder)

    def _flush(self, file: BinaryIO) -> None:
        """Wait until an opened file's bytes are on the disk."""
        file.flush()
        if self.durable:
            sync(file.fileno())

    def _rename(self, old: str, new: str) -> None:
        """Give a file its name, in a folder that is made when it is missing."""
        try:
            os.replace(old, new)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(new), exist_ok=True)
            os.replace(old, new)

    def stamp(self, name: str) -> tuple[int, int] | None:
        """Inode and time of a file, which differ after every put; None when it is gone."""
        try:
            found = os.lstat(self.path(name))
        except FileNotFoundError:
            return None
        return found.st_ino, found.st_mtime_ns

    def sweep(self) -> int:
        """Delete unfinished writes of processes that are gone; the number deleted.

        Never touches a write of a live process: see `unfinished`.
        """
        swept = 0
        for folder in ("", f"{TEMPORARY}/", "table/", "withdrawn/"):
            with contextlib.suppress(FileNotFoundError), os.scandir(self.path(folder)) as entries:
                for entry in entries:
                    if folder.startswith(TEMPORARY) or entry.name.startswith("."):
                        swept += sweep(entry.path)
        return swept
