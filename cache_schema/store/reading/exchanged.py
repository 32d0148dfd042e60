"""A reader whose store is packed or unpacked under it: what it holds is opened again, once per exchange.

`pack` puts a rebuilt folder in the old one's place, in one step where the system has one. Whoever has the
old form open would look for chunks where there are shards now. The header's file tells one folder from the
other, so each read asks afterwards whether it came from the folder that was opened.
"""

import threading
import time
from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from cache_schema.common.errors import SlicecacheError, StoreError
from cache_schema.files.objects import LocalObjects, Objects, Stamp
from cache_schema.format.layout import HEADER

P = ParamSpec("P")
R = TypeVar("R")

EXCHANGES = 3
"""A store that is replaced this often during one read is not read any further."""
PAUSES = (0.0, 0.05, 0.5)
"""Where folders cannot be exchanged in one step there is none for a moment: seconds before each look."""
_ONE_AT_A_TIME = threading.RLock()


class Reopened(Protocol):
    """What can be opened again."""

    location: str
    _objects: Objects
    _stamp: Stamp

    def _reopen(self) -> None:
        """Open the location again, and refuse it when it says anything else than before."""
        ...


S = TypeVar("S", bound=Reopened)


def stamp_of(objects: Objects) -> Stamp:
    """Which folder a store is: its header's file. None for what is never exchanged (a zip, an .h5, a URL)."""
    return objects.stamp(HEADER) if isinstance(objects, LocalObjects) else None


def steady(read: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """Make a method read once more when the store was exchanged meanwhile."""

    @wraps(read)
    def again(self: S, /, *given: P.args, **named: P.kwargs) -> R:
        for _ in range(EXCHANGES):
            stamp = self._stamp
            try:
                value = read(self, *given, **named)
            except (SlicecacheError, OSError):  # also a file that went away on a network
                if _is_still(self, stamp):
                    raise
            else:
                if _is_still(self, stamp):
                    return value
            with _ONE_AT_A_TIME:
                if self._stamp == stamp:  # else another thread was faster
                    _reopen(self)
        raise StoreError(f"{self.location!r} is replaced again and again while it is read")

    return again


def _is_still(reader: Reopened, stamp: Stamp) -> bool:
    """Whether the location holds what it held, and the reader too."""
    return reader._stamp == stamp == stamp_of(reader._objects)


def _reopen(reader: Reopened) -> None:
    """Open again, in a few attempts."""
    for pause in PAUSES:
        time.sleep(pause)
        if stamp_of(reader._objects) is not None:
            break
    reader._reopen()
