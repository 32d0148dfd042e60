"""Reading many objects of which some may be anything: what cannot be read is empty, and no error."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from cache_schema.common.errors import StoreError
from cache_schema.files.objects import Objects
from cache_schema.files.remote.objects import REQUESTS, RemoteObjects


def get_readable(objects: Objects, names: Sequence[str]) -> Iterator[tuple[str, bytes | None]]:
    """Read objects in the order of their names, many at a time where each waits for a network.

    Yields:
        A name with its bytes: None when there is no such object (any more), none at all when it is too large
        or no file.

    Raises:
        MachineError: If the disk or the server fails.
    """

    def get(name: str) -> bytes | None:
        try:
            return objects.get(name)
        except StoreError:
            return b""

    if not isinstance(objects, RemoteObjects):
        yield from ((name, get(name)) for name in names)
        return
    with ThreadPoolExecutor(REQUESTS) as pool:
        yield from zip(names, pool.map(get, names), strict=True)
