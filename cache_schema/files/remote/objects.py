"""Byte objects behind a URL, through obstore: S3 and what speaks like it, Google, Azure, web servers.

Each request waits for a network, so that few and large ones are asked for, many at a time. A request that
fails for a passing reason (429, 5xx, a connection lost before an answer) is repeated by obstore.
"""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any, Self

from cache_schema.common.errors import StoreError
from cache_schema.files.objects import Objects, Opened, OpenedBytes
from cache_schema.files.opened import require_size
from cache_schema.files.read_only import ReadOnly
from cache_schema.files.remote.connection import connect, request_errors, require_own_process
from cache_schema.files.remote.faults import told
from cache_schema.files.remote.urls import PLAIN, require_url

REQUESTS = 16
"""At a time."""
TAIL_BYTES = 16 * 1024
"""Read with an object's size, since its end is asked for first: the index of a shard of 1,000 chunks."""
KEPT_TAILS = 256


class RemoteObjects(ReadOnly):
    """The objects below a URL, for reading."""

    def __init__(self, url: str) -> None:
        """Hold the place; nothing is asked for yet.

        Raises:
            StoreError: If the URL cannot be a store's.
            ModuleNotFoundError: If obstore is not installed.
        """
        self.lists = require_url(url) not in PLAIN
        """Whether the place tells which objects it has; a web server does not."""
        self.url = self.where = url.rstrip("/")
        self._store = connect(self.url)
        self._tail = lru_cache(maxsize=KEPT_TAILS)(self._read_tail)
        self._top: dict[str, bytes] = {}

    @property
    def _place(self) -> Any:
        """Obstore's store.

        Raises:
            ConfigError: In a process that was forked off one that used obstore.
        """
        require_own_process()
        return self._store

    def place(self, name: str) -> str:
        """What an object is called in messages."""
        return f"{self.url}/{name}"

    def get(self, name: str) -> bytes | None:
        """Read an object, or None: one request, and none for what lies at the top and was read before."""
        if name in self._top:
            return self._top[name]
        data = self._whole(name)
        if data is not None and "/" not in name:
            self._top[name] = data.to_bytes()
        return None if data is None else data.to_bytes()

    def _whole(self, name: str) -> Any:
        """An object's bytes as obstore holds them, or None.

        Raises:
            MachineError: If the server cannot be reached or fails.
        """
        import obstore

        try:
            answer = obstore.get(self._place, name)
            require_size(name, int(answer.meta["size"]))
            return answer.bytes()
        except request_errors() as error:
            self._require_absent(error, name)
        return None

    def _require_absent(self, error: Exception, name: str) -> None:
        """Let it pass that an object is not there.

        Raises:
            StoreError: If there is no such bucket.
            MachineError: For everything else that went wrong.
        """
        mistake = told(error, self.place(name))
        if not isinstance(error, FileNotFoundError) or isinstance(mistake, StoreError):
            raise mistake from error

    def opened(self, name: str, *, parts: bool) -> Opened | None:
        """Read an object whole, or its size and its end if only parts of it are wanted: one request."""
        if not parts:
            data = self._whole(name)
            return None if data is None else OpenedBytes(data)
        tail = self._tail(name)
        return None if tail is None else OpenedRemote(self, name, *tail)

    def _read_tail(self, name: str) -> tuple[int, Any] | None:
        """Size of an object and its last bytes, or None."""
        import obstore
        from obstore.exceptions import NotSupportedError

        try:
            try:
                answer = obstore.get(self._place, name, options={"range": {"suffix": TAIL_BYTES}})
            except NotSupportedError:  # Azure knows no ends
                size = int(obstore.head(self._place, name)["size"])
                return size, self.part(name, max(0, size - TAIL_BYTES), size)
            return int(answer.meta["size"]), answer.bytes()
        except request_errors() as error:
            if "status code: 416" in str(error):  # of nothing there is no part
                return 0, b""
            self._require_absent(error, name)
        return None

    def part(self, name: str, start: int, stop: int) -> Any:
        """The bytes of an object from start to stop, fewer at its end.

        Raises:
            MachineError: If the server cannot be reached or fails, or the object is gone.
        """
        import obstore

        try:
            return obstore.get_range(self._place, name, start=start, end=stop)
        except request_errors() as error:
            raise told(error, self.place(name)) from error

    def list(self, prefix: str) -> list[str]:
        """Names below a folder.

        Raises:
            StoreError: If the place lists nothing.
        """
        import obstore

        if not self.lists:
            raise StoreError(f"{self.url!r} is on a web server, which does not say what it holds")
        try:
            found = [str(one["path"]) for some in obstore.list(self._place, prefix) for one in some]
        except request_errors() as error:
            raise told(error, self.place(prefix)) from error
        return sorted(name for name in found if not name.rpartition("/")[2].startswith("."))


class OpenedRemote:
    """An object of which parts are read, each with a request of its own; its end is in memory."""

    def __init__(self, objects: RemoteObjects, name: str, size: int, tail: Any) -> None:
        """Hold where it is, and its last bytes."""
        self._objects, self._name, self.size = objects, name, size
        self._tail = OpenedBytes(tail)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *ending: object) -> None:
        return None

    def read_into(self, offset: int, buffers: Sequence[Any]) -> int:
        """Ask for the bytes of all buffers at once."""
        begins = self.size - self._tail.size
        if offset >= begins:
            return self._tail.read_into(offset - begins, buffers)
        stop = min(self.size, offset + sum(len(buffer) for buffer in buffers))
        return OpenedBytes(self._objects.part(self._name, offset, stop)).read_into(0, buffers)


def get_all(
    objects: Objects, names: Iterable[str], *, lenient: bool = False
) -> Iterator[tuple[str, bytes | None]]:
    """Read objects in the order of their names; many at a time where each waits for a network.

    Args:
        objects: The store.
        names: Of objects.
        lenient: What is no object that can be read (too large, no file) is empty, and no error.
    """

    def get(name: str) -> bytes | None:
        try:
            return objects.get(name)
        except StoreError:
            if not lenient:
                raise
            return b""

    if not isinstance(objects, RemoteObjects):
        yield from ((name, get(name)) for name in names)
        return
    wanted = list(names)
    with ThreadPoolExecutor(REQUESTS) as pool:
        yield from zip(wanted, pool.map(get, wanted), strict=True)
