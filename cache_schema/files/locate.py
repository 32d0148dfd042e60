"""The objects at a location, whatever it is: a folder, a zip, an HDF5 file, a URL."""

from pathlib import Path

from cache_schema.common.errors import StoreError
from cache_schema.files.archive import ZipObjects
from cache_schema.files.disk.exchange import interrupted
from cache_schema.files.objects import LocalObjects, Objects
from cache_schema.files.remote.bucket import Bucket
from cache_schema.files.remote.objects import RemoteObjects
from cache_schema.files.remote.urls import FILE, file_path, is_url, require_place
from cache_schema.files.writable import Writable
from cache_schema.format.layout import HEADER


def open_objects(location: str) -> Objects | None:
    """The objects at a location: a folder, a `.zip`, an `.h5`, a URL; None when nothing is there.

    Raises:
        StoreError: If the location is of a kind that cannot be opened.
        MachineError: If a server cannot be reached or fails.
    """
    if is_url(location) and not location.startswith(FILE):
        remote = RemoteObjects(location)
        return None if remote.get(HEADER) is None else remote
    path = Path(file_path(location) if is_url(location) else location).expanduser()
    if path.is_dir():
        return LocalObjects(path)
    if not path.exists():
        old = interrupted(path.absolute())
        if old is not None:
            raise StoreError(f"replacing {location!r} was interrupted; rename {str(old)!r} back to it")
        return None
    if not path.is_file():
        raise StoreError(f"{location!r} is neither a file nor a folder")
    if path.suffix in (".h5", ".hdf5"):
        from cache_schema.files.h5.objects import H5Objects

        return H5Objects(path)
    if path.suffix == ".zip":
        return ZipObjects(path)
    raise StoreError(f"{location!r} is a file; a store is a folder, a .zip, an .h5 or a URL")


def open_writable(location: str, verb: str) -> Writable | None:
    """The objects of a store that is written to: a folder, or a bucket; None when nothing is there.

    Args:
        location: Where.
        verb: Names in messages what is done there.

    Raises:
        StoreError: If it is only read there: in a file, on a web server.
        MachineError: If a server cannot be reached or fails.
    """
    require_place(location, verb)
    found = open_objects(location)
    if found is None or isinstance(found, LocalObjects):
        return found
    if isinstance(found, RemoteObjects):
        return Bucket(location)
    raise StoreError(f"{location!r} is a file, which is only read; {verb} takes the folder it was made from")
