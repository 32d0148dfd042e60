"""A store's objects in a bucket, for writing: each put is whole or not there, and whoever asks next sees it.

What is created once, by whoever comes first, is the hard part. A server may refuse conditional puts (501),
and may answer them without excluding anybody: OpenStack Swift 2.38 tells a second comer that the name is
taken, and tells several at the same moment that each was the first. So the condition is used where there is
one, and believed nowhere: after a pause what is there is read back, and obeyed.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

from cache_schema.common.errors import MachineError, StoreError
from cache_schema.common.stored_json import MEBIBYTE
from cache_schema.files.objects import TEMPORARY
from cache_schema.files.remote.connection import connect, pauses, request_errors
from cache_schema.files.remote.faults import NO_CONDITION, told
from cache_schema.files.remote.objects import REQUESTS, RemoteObjects

SETTLE_SECONDS = 0.5
"""Before a creation is read back: puts that were under way at the same moment have landed by then."""
SINGLE_PUT = 64 * MEBIBYTE
"""An object up to this size is one request. A larger one goes up in parts, and takes its name at the end."""
WAITING = REQUESTS
"""Objects of one block that may wait in memory for their requests."""
_UNCONDITIONAL: set[str] = set()
"""Places whose server refused a condition, for this process."""


class Bucket(RemoteObjects):
    """The objects below a URL, for reading and writing; nothing that was read is kept."""

    durable, exclusive, at_once = True, False, 8
    keeps = False

    def __init__(self, url: str) -> None:
        """Hold the place; nothing is asked for yet.

        Raises:
            StoreError: If nothing can be written there.
        """
        super().__init__(url)
        if not self.lists:
            raise StoreError(f"{self.url!r} is on a web server, which is only read; write to a bucket")
        self._once = connect(self.url, retries=0)
        self._pool = ThreadPoolExecutor(REQUESTS, thread_name_prefix="slicecache-requests")
        self._block = threading.local()

    def get(self, name: str) -> bytes | None:
        """Read an object as it is now, or None."""
        data = self._whole(name)
        return None if data is None else bytes(data.to_bytes())

    def put(self, name: str, data: bytes) -> None:
        """Write or replace an object; in a block that is `together`, soon."""
        self._do(lambda: self._put(self._place, name, data))

    def delete(self, name: str) -> None:
        """Delete an object; in a block that is `together`, soon."""
        self._do(lambda: self._delete(name))

    def create(self, name: str, data: bytes) -> bool:
        """Write an object if there is none; whether what is there in the end is what was given.

        Of several that give the same bytes each gets True: a put whose answer was lost is found again so.

        Raises:
            MachineError: If the server cannot be reached or fails, as often as it is asked.
        """
        for pause in (*pauses(), None):
            try:
                self._put_new(name, data)
                time.sleep(SETTLE_SECONDS)
                return self.get(name) == data
            except MachineError:
                # Not left to obstore: a put that is repeated much later would go over somebody else's.
                if pause is None:
                    raise
                time.sleep(pause)
        raise AssertionError("the last pause is None")

    def _put_new(self, name: str, data: bytes) -> None:
        """Write an object if there seems to be none."""
        if self.url not in _UNCONDITIONAL:
            try:
                self._put(self._once, name, data, mode="create")
            except FileExistsError:
                return
            except NotImplementedError:
                _UNCONDITIONAL.add(self.url)
            else:
                return
        if self.stamp(name) is None:
            self._put(self._once, name, data)

    def _put(self, place: Any, name: str, data: bytes, **how: Any) -> None:
        """Put, by one request if it is not very large.

        Raises:
            FileExistsError: If it was to be created, and is there.
            NotImplementedError: If it was to be created, and the server knows no conditions.
            StoreError: If there is no such bucket.
            MachineError: If the server cannot be reached, forbids it or fails.
        """
        import obstore
        from obstore.exceptions import AlreadyExistsError

        self._require_own()
        try:
            obstore.put(place, name, data, use_multipart=len(data) > SINGLE_PUT, **how)
        except AlreadyExistsError as error:
            raise FileExistsError(name) from error
        except request_errors() as error:
            if how and NO_CONDITION.search(f"{type(error).__name__} {error}"):
                raise NotImplementedError(name) from error
            raise told(error, self.place(name), "write") from error

    def _delete(self, name: str) -> None:
        """Delete an object; absent is fine.

        Raises:
            StoreError: If there is no such bucket.
            MachineError: If the server cannot be reached, forbids it or fails.
        """
        import obstore

        try:
            obstore.delete(self._place, name)
        except request_errors() as error:
            self._require_absent(error, name, "delete")

    def _do(self, work: Callable[[], None]) -> None:
        """Do it now, or hand it to a thread if this thread is in a block."""
        block: list[Future[None]] | None = getattr(self._block, "open", None)
        if block is None:
            work()
            return
        if len(block) >= WAITING:
            block.pop(0).result()
        block.append(self._pool.submit(work))

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Many requests at a time; when the block ends, all were answered."""
        block: list[Future[None]] = []
        self._block.open = block
        try:
            yield
        finally:
            self._block.open = None
            wait(block)
        for request in block:
            request.result()

    def keep(self, folder: str) -> None:
        """Nothing is waited for: what a server has acknowledged is safe."""

    def sweep(self) -> int:
        """Nothing is unfinished here but parts of uploads, which the bucket's own rules clear."""
        return 0

    def require_writable(self) -> None:
        """Put a small object and delete it again.

        Raises:
            StoreError: If there is no such bucket.
            MachineError: If it cannot be written to.
        """
        probe = f"{TEMPORARY}/probe"  # of whomever: one is as good as another
        self._put(self._place, probe, b"slicecache")
        self._delete(probe)
