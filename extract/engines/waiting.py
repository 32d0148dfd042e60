"""How much of its time a device works, and how much it waits for the next image to be decoded.

Time counts from the first image on: until it is there nothing can be done, however many cores decode.
"""

import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from cache_schema.workers.share import share_of, waits_too_long

T = TypeVar("T")


class Stopwatch:
    """Divides the time of a loop over images; may be asked from another thread."""

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        """Stands still until the first image comes."""
        self._now = now
        self._since: float | None = None
        self._until: float | None = None
        self._blocked: float | None = None
        self._waited = 0.0

    def over(self, decode: Callable[[], Iterator[T]], idle: Callable[[float], float]) -> Iterator[T]:
        """The images; the time that each lets itself be waited for is counted.

        Args:
            decode: Begins to decode them. It is called here, so that decoding ends with this iterator.
            idle: Told how many seconds the loop was held up, says how many of them the device was, too.
        """
        coming = decode()
        while True:
            self._blocked = began = self._now()
            try:
                image = next(coming)
            except StopIteration:
                return
            finally:
                self._blocked = None
            if self._since is None:
                self._since = self._now()
            else:
                self._waited += idle(self._now() - began)
            yield image

    def stop(self) -> None:
        """All is embedded."""
        self._until = self._now()

    @property
    def waiting_seconds(self) -> float:
        """In which the device had nothing to do, the present moment included."""
        blocked = self._blocked
        if self._since is None or blocked is None:
            return self._waited
        return self._waited + max(0.0, self._now() - blocked)

    @property
    def busy_seconds(self) -> float:
        """All other time since the first image."""
        if self._since is None:
            return 0.0
        end = self._now() if self._until is None else self._until
        return max(0.0, end - self._since - self.waiting_seconds)


def said_of_waiting(waiting_seconds: float, busy_seconds: float, workers: int) -> list[str]:
    """How long the device waited, and what helps if that is too long.

    Args:
        waiting_seconds: Of the device.
        busy_seconds: Of the device.
        workers: Decoding processes that there were.
    """
    share = share_of(waiting_seconds, busy_seconds)
    if share is None:
        return []
    lines = [f"the device waited for images {share:.0%} of the time"]
    if waits_too_long(waiting_seconds, busy_seconds):
        lines.append(
            f"advice: {workers} processes decoded; give the task more cores (extract.workers follows them)"
        )
    return lines
