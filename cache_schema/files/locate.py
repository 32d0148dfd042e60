"""The objects at a location, whatever it is: a folder, a zip, an HDF5 file, a URL."""

from pathlib import Path

from cache_schema.common.errors import StoreError
from cache_schema.files.archive import ZipObjects
from cache_schema.files.disk.exchange import interrupted
from cache_schema.files.objects import LocalObjects, Objects
from cache_schema.files.remote.objects import RemoteObjects
from cache_schema.files.remote.urls import FILE, file_path, is_url
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
