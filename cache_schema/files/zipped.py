"""Byte objects in any Zarr store: a zip, an object store behind a URL, memory."""

from collections.abc import Sequence
from typing import Any, Self

from cache_schema.common.errors import StoreError
from cache_schema.files.objects import Opened, OpenedBytes


class ZarrObjects:
    """Objects in any Zarr store: a zip, an object store behind a URL, memory."""

    def __init__(self, store: Any) -> None:
        """Hold an opened Zarr store."""
        self.store = store

    def get(self, name: str, span: tuple[int, int] | None = None) -> bytes | None:
        """Read an object or bytes from start to stop of it, or None."""
        import zipfile

        from zarr.abc.store import RangeByteRequest
        from zarr.core.buffer import default_buffer_prototype
        from zarr.core.sync import sync

        part = None if span is None else RangeByteRequest(*span)
        try:
            buffer = sync(self.store.get(name, default_buffer_prototype(), part))
        except zipfile.BadZipFile as error:
            raise StoreError(f"{name} in the zip is damaged: {error}") from error
        return None if buffer is None else bytes(buffer.to_bytes())

    def opened(self, name: str, *, parts: bool) -> Opened | None:
        """Read an object whole, or ask for its size if only parts of it are wanted."""
        from zarr.core.sync import sync

        if not parts:
            data = self.get(name)
            return None if data is None else OpenedBytes(data)
        try:
            return OpenedRemote(self, name, sync(self.store.getsize(name)))
        except FileNotFoundError:
            return None

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


class OpenedRemote:
    """An object of which parts are read, each with a request of its own."""

    def __init__(self, objects: ZarrObjects, name: str, size: int) -> None:
        """Hold where it is."""
        self._objects, self._name, self.size = objects, name, size

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *ending: object) -> None:
        return None

    def read_into(self, offset: int, buffers: Sequence[Any]) -> int:
        """Ask for the bytes of all buffers at once."""
        stop = min(self.size, offset + sum(len(buffer) for buffer in buffers))
        data = self._objects.get(self._name, (offset, stop)) if stop > offset else None
        return OpenedBytes(data or b"").read_into(0, buffers)


def url_store(url: str) -> Any:
    """Zarr's store over fsspec, for reading."""
    from zarr.storage import FsspecStore

    try:
        return FsspecStore.from_url(url, read_only=True)
    except (ImportError, ValueError) as error:
        raise StoreError(f"cannot open {url!r}: {error}") from error
