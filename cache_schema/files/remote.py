"""Byte objects in any Zarr store: a zip, an object store behind a URL, memory."""

from pathlib import Path
from typing import Any

from cache_schema.common.errors import StoreError


class ZarrObjects:
    """Objects in any Zarr store: a zip, an object store behind a URL, memory."""

    def __init__(self, store: Any) -> None:
        """Hold an opened Zarr store."""
        self.store = store

    def get(self, name: str) -> bytes | None:
        """Read an object, or None."""
        import zipfile

        from zarr.core.buffer import default_buffer_prototype
        from zarr.core.sync import sync

        try:
            buffer = sync(self.store.get(name, default_buffer_prototype()))
        except zipfile.BadZipFile as error:
            raise StoreError(f"{name} in the zip is damaged: {error}") from error
        return None if buffer is None else bytes(buffer.to_bytes())

    def put(self, name: str, data: bytes) -> None:
        """Write an object."""
        from zarr.core.buffer import default_buffer_prototype
        from zarr.core.sync import sync

        sync(self.store.set(name, default_buffer_prototype().buffer.from_bytes(data)))

    def create(self, name: str, data: bytes) -> bool:
        """Write an object if absent, as far as the store behind can promise it."""
        from zarr.core.buffer import default_buffer_prototype
        from zarr.core.sync import sync

        if self.get(name) is not None:
            return False
        sync(self.store.set_if_not_exists(name, default_buffer_prototype().buffer.from_bytes(data)))
        return self.get(name) == data

    def list(self, prefix: str) -> list[str]:
        """List names below a folder."""
        from zarr.core.sync import sync

        async def names() -> list[str]:
            return [name async for name in self.store.list_prefix(f"{prefix}/")]

        # Zips list folders too; hidden names are unfinished writes that were copied along.
        return sorted(name for name in sync(names()) if name.rpartition("/")[2][:1] not in ("", "."))

    def delete(self, name: str) -> None:
        """Delete an object."""
        from zarr.core.sync import sync

        sync(self.store.delete(name))

    def zarr_store(self) -> Any:
        """The store itself."""
        return self.store


def zip_store(path: Path) -> Any:
    """Zarr's store over a zip, for reading."""
    import zipfile

    from zarr.core.sync import sync
    from zarr.storage import ZipStore

    if not zipfile.is_zipfile(path):
        raise StoreError(f"{str(path)!r} is no zip archive, or a truncated one")
    return sync(ZipStore.open(path=path, mode="r", read_only=True))


def url_store(url: str) -> Any:
    """Zarr's store over fsspec, for reading."""
    from zarr.storage import FsspecStore

    try:
        return FsspecStore.from_url(url, read_only=True)
    except (ImportError, ValueError) as error:
        raise StoreError(f"cannot open {url!r}: {error}") from error
