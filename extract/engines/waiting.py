"""How much of its time a device works, and how much it waits for the next image to be decoded.

Time counts from the first image on: until it is there nothing can be done, however many cores decode.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TypeVar

from cache_schema.workers.share import share_of, waits_too_long
from extract.slices.prepare import PreparedVolume

T = TypeVar("T")

STAGES = ("read", "prepare", "embed", "write")
"""What a record's `seconds` has beside `waiting`, in order."""
NONE: Mapping[str, float] = MappingProxyType({})


class Stopwatch:
    """Divides the time of a loop over images; may be asked from another thread."""

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        """Stands still until the first image comes."""
        self._now = now
        self._since: float | None = None
        self._until: float | None = None
        self._blocked: float | None = None
        self._waited = 0.0
        self._elsewhere = (0.0, 0.0)
        self.last = 0.0
        """Seconds that the last image let itself be waited for."""

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
                self.last = idle(self._now() - began)
                self._waited += self.last
            yield image

    def stop(self) -> None:
        """All is embedded."""
        self._until = self._now()

    def add(self, other: "Stopwatch") -> None:
        """Count the time of another device, too."""
        waited, busy = self._elsewhere
        self._elsewhere = (waited + other.waiting_seconds, busy + other.busy_seconds)

    def at_rest(self) -> "Stopwatch":
        """One that stands still at this moment's times."""
        found = Stopwatch()
        found.add(self)
        return found

    @property
    def waiting_seconds(self) -> float:
        """In which the device had nothing to do, the present moment included."""
        return self._elsewhere[0] + self._own_waiting()

    @property
    def busy_seconds(self) -> float:
        """All other time since the first image."""
        if self._since is None:
            return self._elsewhere[1]
        end = self._now() if self._until is None else self._until
        return self._elsewhere[1] + max(0.0, end - self._since - self._own_waiting())

    def _own_waiting(self) -> float:
        """Of the device of this process."""
        blocked = self._blocked
        if self._since is None or blocked is None:
            return self._waited
        return self._waited + max(0.0, self._now() - blocked)


def with_waiting(prepared: PreparedVolume, seconds: float) -> PreparedVolume:
    """A volume whose record will say how long the device waited for it."""
    draft = prepared.draft
    waited = draft.model_copy(update={"seconds": draft.seconds | {"waiting": seconds}})
    return replace(prepared, draft=waited)


def said_of_waiting(
    waiting_seconds: float, busy_seconds: float, workers: int, stages: Mapping[str, float] = NONE
) -> list[str]:
    """How long each stage took, how long the device waited, and what helps if that is too long.

    Args:
        waiting_seconds: Of the device.
        busy_seconds: Of the device.
        workers: Decoding processes that there were.
        stages: Seconds of all volumes, by stage; what decodes and what writes do so beside the device.
    """
    share = share_of(waiting_seconds, busy_seconds)
    if share is None:
        return []
    told = [f"{stage} {stages[stage]:.1f} s" for stage in STAGES if stage in stages]
    lines = [", ".join([*told, f"waiting for decoding {share:.0%} of the time"])]
    if waits_too_long(waiting_seconds, busy_seconds):
        lines.append(
            f"advice: {workers} processes decoded; give the task more cores (extract.workers follows them)"
        )
    return lines
